// Addresses of sockets as the system takes them.
#pragma once

#include <sys/socket.h>

#include <vector>

#include "runtime/base/address.h"
#include "runtime/base/status.h"

namespace octet {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
  uint16_t port() const;  // of IPv4 and IPv6
  void set_port(uint16_t port);
  // The address of all of a host's addresses becomes that of the host for itself.
  void make_reachable();
};

// At least one. kInvalidInput, without the address, where it names none.
Result<std::vector<SocketAddress>> resolve(const Address& address);

}  // namespace octet
