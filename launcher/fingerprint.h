// What must be the same on every rank of a job.
#pragma once

#include <filesystem>
#include <vector>

#include "comm/agreement.h"
#include "launcher/model_flags.h"

namespace octet {

// Hashes of this binary, of every model flag as the command has it (a file that one names by its content, so that
// paths may differ), and of the model's small files: its configuration, tokenizer, safetensors headers and file sizes.
// kInvalidInput where one cannot be read.
Result<std::vector<NamedHash>> fingerprint(const ModelFlags& flags, const std::filesystem::path& model);

}  // namespace octet
