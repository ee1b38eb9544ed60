// Perplexity of a text, apart from the model: which windows are computed, what a row of logits says about the next
// token, and the figures at the end.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/base/tensor.h"

namespace octet {

// A stretch of the text's token stream that the model sees after a BOS: position 0 is the BOS, position p the token
// first_token + p - 1. Row p of the window's logits predicts position p + 1.
struct PerplexityWindow {
  int64_t first_token = 0;
  int64_t num_tokens = 0;             // at most context - 1; the last window may be shorter
  int64_t first_scored_position = 1;  // those before it were scored in the window before
  bool operator==(const PerplexityWindow&) const = default;
};

// The windows of a stream of `num_tokens` tokens (no BOS among them), each BOS + `context` - 1 tokens, beginning every
// `stride` tokens; together they score every token once. 1 ≤ stride ≤ context - 1 (no overlap). kInvalidInput where
// that does not hold and where there is no token to score.
Result<std::vector<PerplexityWindow>> perplexity_windows(int64_t num_tokens, int64_t context, int64_t stride);

// The ids that the model sees: BOS and the window's tokens of `stream`.
std::vector<TokenId> window_ids(std::span<const TokenId> stream, const PerplexityWindow& window, TokenId bos_id);

// -ln softmax(logits)[target]. logits: [vocab]; summed in double, in blocks of fixed size, so that the bits depend on
// the row alone. REQUIRES: 0 ≤ target < vocab.
double negative_log_likelihood(std::span<const float> logits, TokenId target);

// Sums what was scored, by position in the window.
class PerplexityTable {
 public:
  // `position` ≥ 1 in its window; `nll` in nats.
  void add(int64_t position, double nll);

  int64_t tokens_scored() const;
  // exp of the mean negative log-likelihood. REQUIRES: something was scored.
  double perplexity() const;

  // A table for people: a row for each range of positions (1-31, 32-127, 128-255, 256-511, then doubling), then the
  // whole.
  std::string to_text() const;
  // {"perplexity", "tokens_scored", "perplexity_by_position": {"1-31": …}}
  std::string to_json() const;

 private:
  struct Sum {
    int64_t count = 0;
    double nll = 0;
    double perplexity() const;
  };
  Sum total() const;

  std::map<int, Sum> ranges_;  // by the range's number, ascending positions
};

}  // namespace octet
