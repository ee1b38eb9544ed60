#include "runtime/service/client/grpc_address.h"

#include <string_view>

#include "runtime/base/percent.h"

namespace octet {
namespace {

// RFC 3986, section 2.3; a slash separates segments and stays.
bool stays_in_target(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("-._~/:").find(c) != std::string_view::npos;
}

}  // namespace

std::string grpc_target(const Address& address) {
  return address.is_unix() ? "unix:" + percent_encode(address.socket_file, stays_in_target)
                           : "dns:///" + percent_encode(address.text(), stays_in_target);
}

}  // namespace octet
