#include "runtime/gate/socket_address.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cstring>
#include <memory>

namespace octet {

uint16_t SocketAddress::port() const {
  if (family() == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(storage).sin6_port);
  return ntohs(reinterpret_cast<const sockaddr_in&>(storage).sin_port);
}

void SocketAddress::set_port(uint16_t port) {
  if (family() == AF_INET6) {
    reinterpret_cast<sockaddr_in6&>(storage).sin6_port = htons(port);
  } else {
    reinterpret_cast<sockaddr_in&>(storage).sin_port = htons(port);
  }
}

void SocketAddress::make_reachable() {
  if (family() == AF_INET6) {
    auto& v6 = reinterpret_cast<sockaddr_in6&>(storage);
    if (IN6_IS_ADDR_UNSPECIFIED(&v6.sin6_addr)) v6.sin6_addr = in6addr_loopback;
  } else if (family() == AF_INET) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(storage);
    if (v4.sin_addr.s_addr == htonl(INADDR_ANY)) v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  }
}

Result<std::vector<SocketAddress>> resolve(const Address& address) {
  std::vector<SocketAddress> found;
  if (address.is_unix()) {
    SocketAddress& file = found.emplace_back();
    auto& local = reinterpret_cast<sockaddr_un&>(file.storage);
    if (address.socket_file.size() >= sizeof(local.sun_path)) return invalid_input("the path is too long");
    local.sun_family = AF_UNIX;
    std::memcpy(local.sun_path, address.socket_file.c_str(), address.socket_file.size() + 1);
    file.size = sizeof(sockaddr_un);
    return found;
  }
  addrinfo hints{}, *first = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  const std::string port = std::to_string(address.port);
  if (const int error = ::getaddrinfo(address.host.c_str(), port.c_str(), &hints, &first); error != 0) {
    return invalid_input("{}", ::gai_strerror(error));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(first, ::freeaddrinfo);
  for (const addrinfo* next = first; next != nullptr; next = next->ai_next) {
    SocketAddress& one = found.emplace_back();
    one.size = next->ai_addrlen;
    std::memcpy(&one.storage, next->ai_addr, next->ai_addrlen);
  }
  return found;
}

}  // namespace octet
