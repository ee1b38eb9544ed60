// Files of keys for tests.
#pragma once

#include "tests/base/temp_folder.h"

namespace octet::testing {

// A file that its owner alone can read.
inline void write_secret(const std::filesystem::path& path, std::string_view bytes) {
  write_file(path, bytes);
  std::filesystem::permissions(path, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

}  // namespace octet::testing
