// generation_config.json: how a checkpoint wants to be sampled and where its answers end.
#pragma once

#include <string_view>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/model/checkpoint.h"

namespace octet {

struct GenerationConfig {
  GenerationDefaults defaults;
  std::vector<TokenId> eos_ids;  // none when the file names none
};

// Parses untrusted text. `do_sample: false` means greedy (temperature 0). Errors name key, value and bound.
Result<GenerationConfig> parse_generation_config(std::string_view text, int64_t vocab_size);

}  // namespace octet
