// Who a client is, by the address of its socket.
#pragma once

#include <sys/socket.h>

#include <string>

namespace octet {

struct PeerAddress {
  std::string name;  // with its port
  std::string key;   // of the host: an IPv4 address, an IPv6 network of 64 bits, or "unix"
};

PeerAddress describe_peer(const sockaddr_storage& address);

}  // namespace octet
