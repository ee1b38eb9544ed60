// Says to a backend how tokens are chosen, and reads its answers (kernels/sample_spec.h). Everything here is a pure
// function of its input: the same row, parameters and history give the same token whatever else is in the batch.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kernels/sampling.h"
#include "runtime/base/check.h"
#include "runtime/base/status.h"
#include "runtime/base/tensor.h"
#include "runtime/checkpoint/sampling_params.h"
#include "runtime/model/logit_edits.h"

namespace octet {

// What the choice of one token depends on. Refers to the caller's memory.
struct SamplingInput {
  int64_t row = 0;                       // of the logits
  const SamplingParams& params;          // valid for the vocabulary
  std::span<const TokenId> tokens = {};  // the sequence so far: prompt, then output
  int64_t prompt_size = 0;               // of `tokens`; the draw's output index is tokens.size() - prompt_size
  int64_t sample_index = 0;              // which of a request's samples this is
  std::span<const TokenId> banned = {};  // tokens that must not be chosen
  std::optional<int64_t> num_top = {};   // most probable tokens to list, at most vocab; none: no log-probabilities
};

struct TokenLogprob {
  TokenId token_id = 0;
  float logprob = 0;
};

// Log-probabilities of one row of raw logits: of the chosen token, and of the most probable ones, descending; equal
// ones by ascending id.
struct Logprobs {
  float chosen = 0;
  std::vector<TokenLogprob> top;
};

// Fills batches. Owns scratch for one vocabulary; one thread at a time.
class Sampler {
 public:
  explicit Sampler(int64_t vocab_size) : edits_(vocab_size) {}

  // Appends the choice of a token. Returns its index among the batch's choices.
  int64_t choose(const SamplingInput& input, SamplingBatch& batch);
  // Appends the question for log-probabilities of a row: of a given token, and of the num_top most probable ones.
  // Returns its index among the batch's choices.
  static int64_t score(int64_t row, TokenId token, int64_t num_top, SamplingBatch& batch);

 private:
  LogitEdits edits_;
};

// The answer to one SampleSpec.
struct Choice {
  const SampledRow& row;
  std::span<const TokenLogit> top;
};

// The answers to a batch, by index. Refers to the batch and the answers.
class Choices {
 public:
  Choices(const SamplingBatch& batch, SampledRows rows) : batch_(batch), rows_(rows) {}

  Choice operator[](int64_t index) const {
    OCTET_CHECK(index >= 0 && index < batch_.size(), "choice {} of {}", index, batch_.size());
    const auto sample = static_cast<size_t>(index);
    const auto num_top = static_cast<size_t>(std::max(batch_.samples[sample].num_top, 0));
    return {rows_[sample], rows_.top(sample).first(num_top)};
  }

 private:
  const SamplingBatch& batch_;
  SampledRows rows_;
};

// kFailed if the logits held NaN or infinity, or if every token is banned.
Result<TokenId> chosen_token(const Choice& choice);
// Fills `out`, whose memory is reused. REQUIRES: log-probabilities were asked for.
void read_logprobs(const Choice& choice, Logprobs& out);

}  // namespace octet
