#include "runtime/base/host_memory.h"

#include "runtime/base/host_limits.h"

namespace octet {

int64_t available_host_memory() {
  const auto bound = tightest_memory(KernelFiles());
  return bound ? bound->available : 0;
}

}  // namespace octet
