// Addresses of services, as people write them: HOST:PORT, [IPv6]:PORT or unix:PATH.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "runtime/base/status.h"

namespace octet {

// The port of a service whose address names none.
inline constexpr uint16_t kDefaultServicePort = 50051;

struct Address {
  std::string host;         // a name, an IPv4 or, without brackets, an IPv6 address; empty for a socket file
  uint16_t port = 0;        // to listen at: 0 is any
  std::string socket_file;  // of "unix:PATH": the path; else empty

  bool is_unix() const { return !socket_file.empty(); }
  // Whether it never leaves this machine: a socket file, localhost, 127.0.0.0/8, ::1.
  bool is_local() const;
  // As people write it; parsed again it is the same address.
  std::string text() const;
};

// Where to listen: the port must be there. kInvalidInput, one line that begins with the text and says what to write.
Result<Address> parse_listen_address(std::string_view text);

// Where to ask: without a port, kDefaultServicePort; port 0 is refused.
Result<Address> parse_server_address(std::string_view text);

}  // namespace octet
