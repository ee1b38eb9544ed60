// Addresses as gRPC takes them.
#pragma once

#include <string>

#include "runtime/base/address.h"

namespace octet {

// For a channel, and for a server's port. Never taken for another of gRPC's schemes, whatever the host is called.
std::string grpc_target(const Address& address);

}  // namespace octet
