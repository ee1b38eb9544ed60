// What must be the same on every rank of a job.
#pragma once

#include <filesystem>
#include <functional>
#include <vector>

#include "comm/agreement.h"
#include "runtime/base/status.h"

namespace octet {

// Hashes of this binary, of what `others` (if it is set) names, and of the model's small files: its configuration,
// tokenizer, safetensors headers and file sizes. kInvalidInput where one cannot be read.
Result<std::vector<NamedHash>> fingerprint(const std::function<Result<std::vector<NamedHash>>()>& others,
                                           const std::filesystem::path& model);

}  // namespace octet
