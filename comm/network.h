// The little of TCP that the watchdog needs.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/status.h"

namespace octet {

// Owns a file descriptor.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept;
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  void reset();

 private:
  int fd_ = -1;
};

struct ListeningSocket {
  UniqueFd socket;
  uint16_t port = 0;
};

// Listens on a free port of that address of this host (a number), or of all where it is empty.
Result<ListeningSocket> listen_tcp(const std::string& address, int backlog);

// The next connection that comes within the time. kFailed where none does, or this process has no descriptor for it.
Result<UniqueFd> accept_tcp(const ListeningSocket& listener, std::chrono::milliseconds limit);

// `address` is a name or a number, IPv4 or IPv6.
Result<UniqueFd> connect_tcp(const std::string& address, uint16_t port, std::chrono::milliseconds limit);

// Addresses of this host by which others may reach it, IPv4 first: those that `which` names, by interface ("eth0"),
// address ("10.0.0.1") or network ("10.0.0.0/8"), several separated by commas; empty: all but loopback's.
std::vector<std::string> own_addresses(const std::string& which);

// Equal for two processes that share a loopback interface: same running kernel, same network namespace.
std::string loopback_identity();

}  // namespace octet
