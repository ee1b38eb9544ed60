#include "runtime/service/client/grpc_address.h"

#include <fmt/format.h>

#include <string_view>

namespace octet {
namespace {

// RFC 3986, section 2.1; a slash separates segments and stays.
std::string percent_encode(std::string_view text) {
  std::string encoded;
  for (const char c : text) {
    const bool stays = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~/:").find(c) != std::string_view::npos;
    encoded += stays ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return encoded;
}

}  // namespace

std::string grpc_target(const Address& address) {
  return address.is_unix() ? "unix:" + percent_encode(address.socket_file) : "dns:///" + percent_encode(address.text());
}

}  // namespace octet
