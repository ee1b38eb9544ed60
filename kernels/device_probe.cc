#include "kernels/device_probe.h"

namespace octet {

// This build has no code for GPUs.
DeviceProbe probe_devices() { return {}; }

}  // namespace octet
