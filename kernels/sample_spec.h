// How a backend chooses tokens from logits: what it is asked and what it answers, as it lies in memory, and the
// arithmetic, which is integer arithmetic wherever something is summed. So the choice depends neither on the order of a
// sum nor on threads, instruction set or device: all backends choose the same token from the same logits.
#pragma once

#include <cstdint>

namespace octet {

// A probability of 1 relative to the most probable token, as weights are counted. Smaller ones are rounded down.
inline constexpr uint64_t kWeightOne = uint64_t{1} << 40;
// Rewrites one logit before the temperature, in fp32, each operation rounded:
//   l += bias;  l = l > 0 ? l / repetition : l * repetition;  l -= penalty.
// A bias of minus infinity bans the token.
struct LogitEdit {
  int32_t token_id = 0;
  float bias = 0;
  float repetition = 1;
  float penalty = 0;
};

// The choice of one token from one row of logits l, which `edits` have rewritten:
// 1. Without temperature it is the largest logit. Otherwise token i weighs
//    floor(kWeightOne * exp((l[i] - max l) / temperature)), the exponential in fp32 (cpu/isa_rows_inl.h: exp_lanes).
// 2. In the order of falling logits, equal ones by rising id, top_k tokens are kept; of these the fewest whose weights
//    together reach top_p of theirs, at least one; of these those that weigh min_weight or more.
// 3. Of those kept, in the order of their ids, the first one is chosen with which the sum of weights exceeds
//    draw / 2^64 of their total.
// Ties go to the lowest id.
struct SampleSpec {
  int32_t row = 0;         // of the logits
  int32_t first_edit = 0;  // in the batch's edits; one for a token at most
  int32_t num_edits = 0;
  float temperature = 0;    // 0: greedy, and all below is without effect; a normal number
  int32_t top_k = 0;        // 0: off
  int32_t num_top = -1;     // most probable tokens to list; -1: not even the chosen one's log-probability is wanted
  int32_t given = -1;       // >= 0: the token is known, and only log-probabilities are wanted
  uint64_t top_p = 0;       // of 2^64; 0: off
  uint64_t min_weight = 0;  // at most kWeightOne
  uint64_t draw = 0;        // 64 random bits
};

struct TokenLogit {
  int32_t token_id = 0;
  float logit = 0;
};

// What a backend answers for one SampleSpec. Where log-probabilities are wanted: of the row as it was before edits and
// without temperature, log p(i) = l[i] - largest - log(total / kWeightOne).
struct SampledRow {
  int32_t token_id = -1;  // -1: a logit is NaN or infinite, or all are minus infinity (every token is banned)
  float logit = 0;        // of the token
  float largest = 0;      // logit of the row
  int32_t unused = 0;
  uint64_t total = 0;  // weight of all tokens
};

}  // namespace octet
