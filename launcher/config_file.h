// Configuration files: TOML whose keys are the names of flags.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "runtime/base/status.h"

namespace octet {

// Gives the flags of the command `app` that were not on the command line the values of the file. Keys that only other
// commands know are left alone; a key that no command knows is an error that names its line.
Status apply_config_file(const std::string& path, CLI::App& app);

}  // namespace octet
