// What a request may ask of its output, and the one table of the names under which it asks.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/checkpoint/sampling_params.h"

namespace octet {

struct GenerationParams {
  SamplingParams sampling = {};
  std::optional<int64_t> max_tokens = {};    // of output; unset: to the end of the context
  int64_t min_tokens = 0;                    // of output before an EOS or stop token may come; at most max_tokens
  std::vector<TokenId> stop_token_ids = {};  // end the output, and are its last token
  std::vector<std::string> stop =
      {};                   // texts that end the output; for whoever turns tokens to text, not for the engine
  bool ignore_eos = false;  // EOS is a token like any other
  std::optional<int64_t> logprobs = {};  // log-probabilities of each token and of this many most probable ones
  int64_t num_samples = 1;               // independent outputs of the one prompt
  std::string cache_salt = {};           // not empty: share cached prefixes only with requests of the same text
};

// Sets the parameter called `name` (the command line's flags, with underscores) from untrusted JSON. kInvalidInput
// naming the parameter and what is wrong with its value; an unknown name is one, too. Bounds are checked by the engine,
// which knows the vocabulary and the context.
Status set_generation_param(std::string_view name, const nlohmann::json& value, GenerationParams& params);

}  // namespace octet
