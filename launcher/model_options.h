// What the values of model flags mean.
#pragma once

#include <filesystem>

#include "launcher/model_flags.h"
#include "runtime/session/session_options.h"

namespace octet {

// The directory that the flags name, or the default model's.
std::filesystem::path model_path(const ModelFlags& flags);

// All of them. A job's ranks must have every flag alike as the command has it: a file that one names by its content, so
// that paths may differ.
SessionOptions session_options(const ModelFlags& flags);

}  // namespace octet
