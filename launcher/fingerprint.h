// What must be the same on every rank of a job.
#pragma once

#include <filesystem>
#include <vector>

#include "comm/agreement.h"
#include "launcher/model_flags.h"

namespace octet {

// Hashes of this binary, the effective configuration without paths, and the model's small files: its configuration,
// tokenizer, safetensors headers and file sizes. kInvalidInput where one cannot be read.
Result<std::vector<NamedHash>> fingerprint(const ModelFlags& flags, const std::filesystem::path& model);

}  // namespace octet
