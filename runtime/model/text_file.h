// Reading small text files of a checkpoint, whose contents nobody has vouched for.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "runtime/base/status.h"

namespace octet {

// The whole file, without a byte order mark. Errors are kInvalidInput with the path: not a readable regular file, or
// longer than `max_bytes` (a damaged or mistaken file is refused before it is read).
Result<std::string> read_text_file(const std::filesystem::path& path, int64_t max_bytes);

}  // namespace octet
