// Chooses tokens from logits. Everything here is a pure function of its input: the same row, parameters and history
// give the same token whatever else is in the batch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/base/tensor.h"
#include "runtime/model/logit_processor.h"
#include "runtime/model/sampling_params.h"

namespace octet {

// What the choice of one token depends on. Refers to the caller's memory.
struct SamplingInput {
  std::span<const float> logits;         // [vocab], as the model computed them
  const SamplingParams& params;          // valid for the vocabulary
  std::span<const TokenId> tokens = {};  // the sequence so far: prompt, then output
  int64_t prompt_size = 0;               // of `tokens`; the draw's output index is tokens.size() - prompt_size
  int64_t sample_index = 0;              // which of a request's samples this is
  std::span<const TokenId> banned = {};  // tokens that must not be chosen
};

struct TokenLogprob {
  TokenId token_id = 0;
  float logprob = 0;
};

// Log-probabilities of one row of raw logits: of the chosen token, and of the most probable ones, descending.
struct Logprobs {
  float chosen = 0;
  std::vector<TokenLogprob> top;
};

// Owns scratch for one vocabulary; sampling does not allocate. One thread at a time.
class Sampler {
 public:
  explicit Sampler(int64_t vocab_size);

  // The next token. kFailed if the logits hold NaN or infinity, or if every token is banned.
  Result<TokenId> sample(const SamplingInput& input);

  // The distribution that `sample` draws from, [vocab]; greedy: 1 for the chosen token. Errors as above.
  Result<std::vector<double>> probabilities(const SamplingInput& input);

  // Fills `out` (whose memory is reused) with log-softmax values of raw logits [vocab]; num_top at most vocab. Equal
  // logits are listed by ascending id.
  void logprobs(std::span<const float> logits, TokenId chosen, int64_t num_top, Logprobs& out);

 private:
  struct Candidate {
    float logit;
    float weight;  // exp((logit - largest logit) / temperature)
    TokenId id;
  };
  // More probable first, equal ones by ascending id.
  static bool precedes(const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  }

  // The logits after bias, penalties and bans; the input's own memory if nothing changes them.
  std::span<const float> process(const SamplingInput& input);
  // Fills candidates_ with the tokens of the truncated distribution and their weights.
  Status truncate(const SamplingParams& params, std::span<const float> logits);
  void collect(std::span<const float> logits);
  void keep_top_k(int64_t top_k);
  void weigh(double temperature, float largest);
  void keep_top_p(double top_p);
  void keep_min_p(double min_p);
  double total_weight() const;

  LogitProcessor processor_;
  std::vector<float> processed_;       // [vocab]
  std::vector<Candidate> candidates_;  // capacity vocab
};

}  // namespace octet
