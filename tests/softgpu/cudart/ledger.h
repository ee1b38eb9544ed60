// Counts what a process asks of its devices, so that tests can tell the number of launches, waits and messages.
#pragma once

#include <string_view>

#include "tests/softgpu/cudart/runtime_api.h"

namespace octet::softgpu {

// One more `what` on `device`: when the host asked for it (kCalled), and each time the device did it, graphs included
// (kExecuted). Thread-safe. At exit the totals go to SOFTGPU_COUNTS; each record goes to SOFTGPU_TRACE at once, with
// the rank that the bytes go to or come from, if it is one.
void record(api::Stage stage, int device, std::string_view what, u64 bytes = 0, int peer = api::kNoPeer);

}  // namespace octet::softgpu
