// Files that are not what their names say: broken downloads, pointers, archives, other formats. Told by their first
// bytes, so that the message says what to do instead of what a parser stumbled over.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "runtime/base/status.h"

namespace octet {

// What a file should hold.
enum class FileContent {
  kJson,
  kBinary,
};

// What `bytes` (a whole file, or its first 512 bytes) are, and what to do: "a Git LFS pointer, …". Empty where they are
// nothing that is known to be in the wrong place. Pure; takes any bytes.
std::string describe_foreign(std::string_view bytes, FileContent expected);

// The error of a file that `reason` refused: its path, then what the file is where its first bytes tell, else the
// reason.
Status refuse_file(const std::filesystem::path& path, std::string_view bytes, FileContent expected,
                   const Status& reason);

// What the file at `path` is, by its first bytes; empty where it cannot be read or is nothing known.
std::string describe_foreign_file(const std::filesystem::path& path, FileContent expected);

}  // namespace octet
