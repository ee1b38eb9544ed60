// Bias, penalties and bans of one choice, as a backend applies them to its logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/sampling.h"
#include "runtime/checkpoint/sampling_params.h"

namespace octet {

// Owns scratch for one vocabulary; append does not allocate, but for `edits`. One thread at a time.
class LogitEdits {
 public:
  explicit LogitEdits(int64_t vocab_size);

  // Appends one edit for each token whose logit changes: the bias is added, then the repetition penalty applied once to
  // every token of `tokens` (prompt, then output), then frequency and presence penalties of the output,
  // tokens[prompt_size, end); `banned` tokens get a logit of minus infinity. REQUIRES: all ids are in [0, vocab).
  void append(const SamplingParams& params, std::span<const TokenId> tokens, int64_t prompt_size,
              std::span<const TokenId> banned, std::vector<LogitEdit>& edits);

 private:
  std::vector<int32_t> slots_;  // [vocab], where a token's edit is, -1 without one; all -1 between calls
};

}  // namespace octet
