// Streams: sequences of random tokens as step plans, dealt to the dp groups of a layout.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/model/step_plan.h"

namespace octet {

// Group g of dp holds a contiguous near-equal part of the streams, so the logits of a step come in the order of the
// streams.
class Streams {
 public:
  // `count` streams with prompts of `prompt_tokens` each, all different, and room for `more_tokens` behind them.
  Streams(int64_t count, int64_t prompt_tokens, int64_t more_tokens, int64_t vocab_size, int dp);

  // KV pages that the largest group needs.
  int64_t pages_of_group() const;
  // Steps that together read the prompts, at most max_rows rows of a group in each (at least one a stream); the last
  // wants every stream's last logits.
  std::vector<StepPlan> prefill(int64_t max_rows) const;
  // A token more for each stream, the `number`-th behind its prompt (from 0).
  StepPlan decode(std::span<const TokenId> tokens, int64_t number) const;

 private:
  // The same positions of every stream: tokens(stream) are those to feed.
  template <typename TokensOf>
  StepPlan plan(int64_t first_position, bool wants_logits, const TokensOf& tokens) const;

  int64_t count_, pages_each_;
  int dp_;
  std::vector<std::vector<TokenId>> prompts_;
};

}  // namespace octet
