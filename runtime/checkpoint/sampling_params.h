// How a request's next token is chosen from its logits.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "runtime/base/status.h"
#include "runtime/base/tensor.h"

namespace octet {

// The members are applied in the order in which they stand here; the defaults change nothing. Their bounds are in the
// table of generation_params().
struct SamplingParams {
  std::map<TokenId, double> logit_bias = {};  // added to the logit of a token; [-100, 100]
  double repetition_penalty =
      1.0;  // logits of prompt and output tokens: divided by it if positive, else multiplied; [0.1, 10]
  double frequency_penalty = 0.0;     // subtracted once for every occurrence in the output; [-2, 2]
  double presence_penalty = 0.0;      // subtracted once if the token is in the output; [-2, 2]
  double temperature = 1.0;           // divides the logits; 0: greedy, nothing below applies; [0, 2]
  int64_t top_k = 0;                  // keeps the k largest; 0: off
  double top_p = 1.0;                 // keeps the fewest largest whose probabilities reach it; (0, 1], 1: off
  double min_p = 0.0;                 // drops tokens below min_p times the largest probability; [0, 1], 0: off
  std::optional<uint64_t> seed = {};  // of the draws; greedy needs none

  bool greedy() const { return temperature == 0.0; }
  // Whether anything before the temperature is asked for.
  bool changes_logits() const;
  // kInvalidInput naming the first member, in the order above, that is out of its bounds, its value and the bounds.
  Status validate(int64_t vocab_size) const;
};

// A seed for a request that named none, from the operating system. Draw once and report it: the output follows from it.
uint64_t draw_seed();

}  // namespace octet
