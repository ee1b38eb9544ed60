#include "runtime/gate/listening.h"

#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "runtime/gate/socket_address.h"
#include "runtime/gate/socket_file.h"

namespace octet {
namespace {

// Of each connection: what the system holds of what is not read, which it may be for long.
constexpr int kReceiveBytes = 128 << 10;
constexpr int kBacklog = 4096;  // the system's own limit holds, too

// A socket that listens there, or -1 and errno.
int open_socket(const SocketAddress& address, bool both_families) {
  const int descriptor = ::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) return -1;
  const int yes = 1, only_v6 = both_families ? 0 : 1;
  // An address that another process listens at is taken, whatever that process allows.
  if (address.family() != AF_UNIX) ::setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  ::setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &kReceiveBytes, sizeof(kReceiveBytes));
  if (address.family() == AF_INET6) {
    ::setsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &only_v6, sizeof(only_v6));
  }
  if (::bind(descriptor, address.get(), address.size) == 0 && ::listen(descriptor, kBacklog) == 0) return descriptor;
  const int error = errno;
  ::close(descriptor);
  errno = error;
  return -1;
}

}  // namespace

Result<Listening> listen_at(const Address& address) {
  OCTET_ASSIGN_OR_RETURN(std::vector<SocketAddress> places, resolve(address));
  std::optional<SocketFile> claim;  // until it is made
  if (address.is_unix()) {
    OCTET_ASSIGN_OR_RETURN(SocketFile file, SocketFile::claim(address.socket_file));
    claim.emplace(std::move(file));
  }
  Listening listening{{}, address};
  int error = 0;
  for (SocketAddress& place : places) {
    if (!address.is_unix()) place.set_port(listening.address.port);  // all of a host's addresses get the same
    const int descriptor = open_socket(place, places.size() == 1);
    if (descriptor < 0) {
      error = errno;
      if (error == EADDRINUSE) break;
      continue;  // such as an IPv6 address where there is no IPv6
    }
    listening.descriptors.push_back(descriptor);
    SocketAddress bound;
    bound.size = sizeof(bound.storage);
    ::getsockname(descriptor, bound.get(), &bound.size);
    if (!address.is_unix()) listening.address.port = bound.port();
  }
  if (error == EADDRINUSE || listening.descriptors.empty()) {
    std::ranges::for_each(listening.descriptors, ::close);
    return invalid_input("{}", std::strerror(error));
  }
  return listening;
}

}  // namespace octet
