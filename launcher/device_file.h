// Device files: what a device gives at best, by its maker's data sheet (configs/devices).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "bench/roofline.h"
#include "runtime/base/status.h"

namespace octet {

// From TOML. kInvalidInput names `path` and the line: no such TOML, a key that there is not, one that is missing, a
// value out of range.
Result<DeviceCeilings> parse_device_file(std::string_view toml, const std::string& path);
// A path, or the name of a file in configs/devices without its ending: "h100-sxm".
Result<DeviceCeilings> read_device_file(const std::string& name);
// The file in configs/devices whose gpu_names have this name; nothing where none has.
Result<std::optional<DeviceCeilings>> find_device_file(std::string_view gpu_name);

}  // namespace octet
