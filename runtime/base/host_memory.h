#pragma once

#include <cstdint>

namespace octet {

// Host memory that can be had without swapping, in bytes; 0 when the system does not say.
int64_t available_host_memory();

}  // namespace octet
