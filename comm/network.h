// The little of TCP that the watchdog needs.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/base/unique_fd.h"

namespace octet {

struct ListeningSocket {
  UniqueFd socket;
  uint16_t port = 0;
};

// Listens on a free port: of the loopback interface only, or of all.
Result<ListeningSocket> listen_tcp(bool loopback_only, int backlog);

// The next connection that comes within the time.
Result<UniqueFd> accept_tcp(const ListeningSocket& listener, std::chrono::milliseconds limit);

// `address` is a name or a number, IPv4 or IPv6.
Result<UniqueFd> connect_tcp(const std::string& address, uint16_t port, std::chrono::milliseconds limit);

// Addresses by which other hosts may reach this one, of the interface of that name or of all but loopback, IPv4 first.
std::vector<std::string> own_addresses(const std::string& interface);

// Equal for two processes that share a loopback interface: same running kernel, same network namespace.
std::string loopback_identity();

}  // namespace octet
