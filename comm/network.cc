#include "comm/network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>

namespace octet {
namespace {

Status system_error(const std::string& what) { return failed("{}: {}", what, std::strerror(errno)); }

// A listening socket, or an invalid one with errno set. IPv6's any address takes IPv4 connections, too. A connection
// that is gone before it is taken must not hold who takes it: the socket never blocks.
UniqueFd bind_and_listen(const sockaddr* address, socklen_t size, int backlog) {
  UniqueFd socket(::socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int off = 0;
  if (address->sa_family == AF_INET6) setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  if (!socket.valid() || bind(socket.get(), address, size) != 0 || listen(socket.get(), backlog) != 0) return {};
  return socket;
}

UniqueFd listen_ipv4(const in_addr& where, int backlog) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr = where;
  return bind_and_listen(reinterpret_cast<const sockaddr*>(&address), sizeof(address), backlog);
}

UniqueFd listen_ipv6(const in6_addr& where, int backlog) {
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_addr = where;
  return bind_and_listen(reinterpret_cast<const sockaddr*>(&address), sizeof(address), backlog);
}

UniqueFd listen_at(const std::string& address, int backlog) {
  in_addr ipv4{};
  in6_addr ipv6{};
  if (inet_pton(AF_INET, address.c_str(), &ipv4) == 1) return listen_ipv4(ipv4, backlog);
  if (inet_pton(AF_INET6, address.c_str(), &ipv6) == 1) return listen_ipv6(ipv6, backlog);
  errno = EINVAL;
  return {};
}

UniqueFd listen_everywhere(int backlog) {
  UniqueFd both = listen_ipv6(in6addr_any, backlog);
  return both.valid() ? std::move(both) : listen_ipv4({htonl(INADDR_ANY)}, backlog);
}

uint16_t port_of(const UniqueFd& socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                                             : reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

bool wait_until_ready(int fd, short events, std::chrono::milliseconds limit) {
  pollfd poll_fd{fd, events, 0};
  int ready = 0;
  do {
    ready = poll(&poll_fd, 1, static_cast<int>(limit.count()));
  } while (ready < 0 && errno == EINTR);
  return ready > 0;
}

Result<UniqueFd> connect_to(const addrinfo& target, std::chrono::milliseconds limit) {
  UniqueFd socket(::socket(target.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return system_error("socket");
  if (connect(socket.get(), target.ai_addr, target.ai_addrlen) == 0) return socket;
  if (errno != EINPROGRESS) return system_error("connect");
  if (!wait_until_ready(socket.get(), POLLOUT, limit)) return failed("connect: no answer in {} ms", limit.count());
  socklen_t size = sizeof(errno);
  getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &errno, &size);
  if (errno != 0) return system_error("connect");
  return socket;
}

// The number of an interface's address, or empty if other hosts cannot use it.
std::string reachable_address(const ifaddrs& entry) {
  if (entry.ifa_addr == nullptr || (entry.ifa_flags & IFF_UP) == 0) return "";
  char text[INET6_ADDRSTRLEN] = "";
  if (entry.ifa_addr->sa_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(entry.ifa_addr)->sin_addr, text, sizeof(text));
  } else if (entry.ifa_addr->sa_family == AF_INET6) {
    const in6_addr& address = reinterpret_cast<const sockaddr_in6*>(entry.ifa_addr)->sin6_addr;
    if (!IN6_IS_ADDR_LINKLOCAL(&address)) inet_ntop(AF_INET6, &address, text, sizeof(text));
  }
  return text;
}

// Whether the address is the one that `network` is, or in it where it has a length behind a slash.
bool is_in_network(const std::string& address, const std::string& network) {
  const size_t slash = network.find('/');
  const std::string base = network.substr(0, slash);
  for (const auto& [family, size] : {std::pair(AF_INET, 4), std::pair(AF_INET6, 16)}) {
    std::array<unsigned char, 16> mine{}, theirs{};
    if (inet_pton(family, address.c_str(), mine.data()) != 1 || inet_pton(family, base.c_str(), theirs.data()) != 1)
      continue;
    int bits = size * 8;
    if (slash != std::string::npos) {
      const char* end = network.data() + network.size();
      const auto [rest, error] = std::from_chars(network.data() + slash + 1, end, bits);
      if (error != std::errc() || rest != end || bits < 0 || bits > size * 8) return false;
    }
    for (int bit = 0; bit < bits; ++bit) {
      const auto byte = static_cast<size_t>(bit / 8);
      if (((mine[byte] ^ theirs[byte]) & (0x80 >> bit % 8)) != 0) return false;
    }
    return true;
  }
  return false;
}

bool is_wanted(const ifaddrs& entry, const std::string& address, const std::string& which) {
  if (which.empty()) return (entry.ifa_flags & IFF_LOOPBACK) == 0;
  std::istringstream words(which);
  for (std::string word; std::getline(words, word, ',');) {
    if (word == entry.ifa_name || is_in_network(address, word)) return true;
  }
  return false;
}

}  // namespace

UniqueFd& UniqueFd::operator=(UniqueFd&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void UniqueFd::reset() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

Result<ListeningSocket> listen_tcp(const std::string& address, int backlog) {
  ListeningSocket listener;
  listener.socket = address.empty() ? listen_everywhere(backlog) : listen_at(address, backlog);
  if (!listener.socket.valid()) return system_error(fmt::format("cannot listen on a free port of {}", address));
  listener.port = port_of(listener.socket);
  return listener;
}

Result<UniqueFd> accept_tcp(const ListeningSocket& listener, std::chrono::milliseconds limit) {
  if (!wait_until_ready(listener.socket.get(), POLLIN, limit)) return failed("nobody connects");
  UniqueFd socket(accept4(listener.socket.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!socket.valid()) return system_error("accept");
  return socket;
}

Result<UniqueFd> connect_tcp(const std::string& address, uint16_t port, std::chrono::milliseconds limit) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (error != 0) return failed("{}: {}", address, gai_strerror(error));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> targets(found, freeaddrinfo);
  Status last_error;
  for (const addrinfo* target = found; target != nullptr; target = target->ai_next) {
    auto socket = connect_to(*target, limit);
    if (socket.ok()) return socket;
    last_error = socket.status();
  }
  return failed("{} port {}: {}", address, port, last_error.message());
}

std::vector<std::string> own_addresses(const std::string& which) {
  ifaddrs* entries = nullptr;
  if (getifaddrs(&entries) != 0) return {};
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(entries, freeifaddrs);
  std::vector<std::string> addresses;
  for (const ifaddrs* entry = entries; entry != nullptr; entry = entry->ifa_next) {
    const std::string address = reachable_address(*entry);
    if (!address.empty() && is_wanted(*entry, address, which)) addresses.push_back(address);
  }
  std::stable_partition(addresses.begin(), addresses.end(),
                        [](const std::string& text) { return text.find(':') == std::string::npos; });
  return addresses;
}

std::string loopback_identity() {
  std::string boot_id;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot_id;
  struct stat network {};
  const bool known = stat("/proc/self/ns/net", &network) == 0;
  return boot_id + " " + (known ? std::to_string(network.st_ino) : "");
}

}  // namespace octet
