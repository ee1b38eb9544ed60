// The part of sampling that rewrites logits before the temperature: bias and penalties.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/base/tensor.h"
#include "runtime/model/sampling_params.h"

namespace octet {

// Owns scratch for one vocabulary; apply does not allocate. One thread at a time.
class LogitProcessor {
 public:
  explicit LogitProcessor(int64_t vocab_size);

  // Rewrites logits [vocab]: adds the bias, then applies the repetition penalty once to every token of `tokens`
  // (prompt, then output), then frequency and presence penalties of the output, tokens[prompt_size, end). REQUIRES: ids
  // in `tokens` and in params.logit_bias are in [0, vocab).
  void apply(const SamplingParams& params, std::span<const TokenId> tokens, int64_t prompt_size,
             std::span<float> logits);

 private:
  void penalise_repetition(float penalty, std::span<const TokenId> tokens, std::span<float> logits);
  void penalise_output(float frequency, float presence, std::span<const TokenId> output, std::span<float> logits);

  std::vector<int32_t> counts_;  // [vocab], all zero between calls
};

}  // namespace octet
