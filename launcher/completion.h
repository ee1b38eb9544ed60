// Completion of command lines in a shell, from the tree of commands and flags.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace octet {

// A script for bash that completes the names of commands and flags below `root`; everything else, such as a flag's
// value, completes as a file name.
std::string bash_completion(const CLI::App& root);

}  // namespace octet
