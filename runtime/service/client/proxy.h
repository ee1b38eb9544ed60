// The HTTP proxy through which gRPC asks a service, as the environment says.
#pragma once

#include <optional>
#include <string>

#include "runtime/base/address.h"

namespace octet {

struct Proxy {
  std::string variable;  // the one that names it
  std::string url;
};

// None for addresses of this machine, and for those that no_grpc_proxy (else no_proxy) lists. Reads the environment as
// gRPC does: grpc_proxy, else https_proxy, else http_proxy, in small letters.
std::optional<Proxy> proxy_to(const Address& address);

}  // namespace octet
