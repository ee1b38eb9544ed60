// generation_config.json: how a checkpoint wants to be sampled and where its answers end.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/checkpoint/checkpoint.h"

namespace octet {

struct GenerationConfig {
  GenerationDefaults defaults;
  std::vector<TokenId> eos_ids;       // none when the file names none that can occur
  std::vector<std::string> left_out;  // a line for each value that is out of its bounds and was left out
};

// Parses untrusted text. `do_sample: false` means greedy (temperature 0), `top_k: -1` off. A default that is out of the
// bounds of SamplingParams and an end token beyond the vocabulary are left out; errors (a value of another type, a
// negative one) name key, value and bound.
Result<GenerationConfig> parse_generation_config(std::string_view text, int64_t vocab_size);

}  // namespace octet
