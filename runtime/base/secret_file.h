// Files that hold secrets, or say who may come in: those that others can touch are refused.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "runtime/base/status.h"

namespace octet {

// The whole text of a key's file. kInvalidInput with the path: not a readable regular file, longer than `max_bytes`, or
// readable by others than its owner, with the command that mends it. A file of root's that a group may read is good for
// a process that is not root's: so does a system hand secrets to its services.
Result<std::string> read_secret_file(const std::filesystem::path& path, int64_t max_bytes);

// kInvalidInput where others than its owner may write the file.
Status check_written_by_owner_alone(const std::filesystem::path& path);

}  // namespace octet
