#include "runtime/gate/peer_address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <array>
#include <cstring>

namespace octet {
namespace {

constexpr size_t kNetworkBytes = 8;  // of an IPv6 address: what one customer usually has

PeerAddress describe_v4(const in_addr& address, uint16_t port) {
  std::array<char, INET_ADDRSTRLEN> text{};
  inet_ntop(AF_INET, &address, text.data(), text.size());
  return {fmt::format("{}:{}", text.data(), port), text.data()};
}

}  // namespace

PeerAddress describe_peer(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    return describe_v4(v4.sin_addr, ntohs(v4.sin_port));
  }
  if (address.ss_family != AF_INET6) return {"unix", "unix"};
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
    in_addr v4{};
    std::memcpy(&v4, v6.sin6_addr.s6_addr + 12, sizeof(v4));
    return describe_v4(v4, ntohs(v6.sin6_port));
  }
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(AF_INET6, &v6.sin6_addr, text.data(), text.size());
  in6_addr network = v6.sin6_addr;
  std::memset(network.s6_addr + kNetworkBytes, 0, sizeof(network) - kNetworkBytes);
  std::array<char, INET6_ADDRSTRLEN> network_text{};
  inet_ntop(AF_INET6, &network, network_text.data(), network_text.size());
  return {fmt::format("[{}]:{}", text.data(), ntohs(v6.sin6_port)), network_text.data()};
}

}  // namespace octet
