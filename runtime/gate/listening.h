// The sockets that a gate listens with.
#pragma once

#include <vector>

#include "runtime/base/address.h"
#include "runtime/base/status.h"

namespace octet {

struct Listening {
  std::vector<int> descriptors;  // one an address of the host; owned by the caller
  Address address;               // with the port that was chosen; its socket file is to be removed in the end
};

// Port 0: any. kInvalidInput, one line without the address, where nobody can listen there.
Result<Listening> listen_at(const Address& address);

}  // namespace octet
