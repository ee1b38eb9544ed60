// Any bytes for an address are refused with one line or are an address that reads the same again.
#include <cstddef>
#include <cstdint>

#include "runtime/base/address.h"
#include "runtime/base/check.h"

namespace {

void check(const octet::Result<octet::Address>& address, octet::Result<octet::Address> (*parse)(std::string_view)) {
  if (!address.ok()) {
    OCTET_CHECK(address.status().message().find('\n') == std::string::npos);
    return;
  }
  const auto again = parse(address->text());
  OCTET_CHECK(again.ok() && again->host == address->host && again->port == address->port &&
              again->socket_file == address->socket_file);
  OCTET_CHECK(again->is_local() == address->is_local());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check(octet::parse_listen_address(text), octet::parse_listen_address);
  check(octet::parse_server_address(text), octet::parse_server_address);
  return 0;
}
