// Where the files that ship with Octet are.
#pragma once

#include <filesystem>

namespace octet {

// The file that this process runs; empty where the system does not say.
std::filesystem::path own_binary();

// The folder configs/ of the source tree this binary was built in, or of the prefix it was installed under; found from
// the binary's own place, not from the working directory.
std::filesystem::path configs_dir();

// The library that keeps a program's ports on the loopback interface (loopback_bind.cc), beside this binary or in the
// prefix it was installed under. Empty: it is not there.
std::filesystem::path loopback_library();

// --model's default: $OCTET_MODEL, else the shipped demo model.
std::filesystem::path default_model();

}  // namespace octet
