// PlannedDevice: a device that is not there, for which it is asked what something would take.
#pragma once

#include "runtime/base/device.h"

namespace octet {

struct PlannedDevice {
  MemoryKind memory = MemoryKind::kHost;
  bool captures = false;  // as Backend::supports_capture
};

inline constexpr PlannedDevice kPlannedHost{MemoryKind::kHost, false};
inline constexpr PlannedDevice kPlannedGpu{MemoryKind::kCuda, true};

}  // namespace octet
