// Sequence: the tokens of one sample of one request, and how far the model has read them.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/base/tensor.h"
#include "runtime/engine/prefix_cache.h"

namespace octet {

using RequestId = uint64_t;  // ascending in order of arrival

// Ordered by age: older requests first, a request's samples by index.
struct SequenceId {
  RequestId request = 0;
  int32_t sample = 0;  // which of the request's samples

  auto operator<=>(const SequenceId&) const = default;
};

struct Sequence {
  SequenceId id;
  CacheSalt cache_salt = kNoSalt;                    // its pages are shared only among sequences of this salt
  int64_t priority = 0;                              // larger is served sooner
  int64_t turn = 0;                                  // the scheduler's: the smaller is served sooner
  std::vector<TokenId> tokens;                       // prompt, then output, then guesses of what follows
  int64_t num_guesses = 0;                           // of these; there for one step alone
  int64_t num_computed = 0;                          // leading tokens whose K and V lie in its pages; 0 unless running
  int64_t group = -1;                                // the dp group that holds its pages; -1 unless running
  bool wants_next_token = true;                      // whether the logits behind the last token are wanted
  bool wants_experts = false;                        // whether the experts of the rows of its logits are, too
  std::vector<int64_t> prompt_logit_positions = {};  // whose logits the request asked to see, ascending
  size_t num_prompt_logits_taken = 0;                // of these: delivered, not wanted again when tokens are recomputed
  int64_t num_cached = 0;                            // tokens that the prefix cache held, preemptions apart
  int64_t num_preemptions = 0;

  bool running() const { return group >= 0; }
  // Prompt and output: what is final.
  int64_t num_tokens() const { return std::ssize(tokens) - num_guesses; }
  // Of these, tokens that the model has yet to read before it can name the next one.
  int64_t num_pending() const { return num_tokens() - num_computed; }

  // The tokens before the first one whose logits are wanted: these need not be computed where their pages are known.
  std::span<const TokenId> tokens_before_logits() const {
    const bool prompt_logits_are_left = num_prompt_logits_taken < prompt_logit_positions.size();
    const auto end = prompt_logits_are_left ? prompt_logit_positions[num_prompt_logits_taken] : num_tokens() - 1;
    return std::span(tokens).first(static_cast<size_t>(end));
  }
  // Whether the logits of the token at `position` are wanted: those of guesses are, too.
  bool wants_logits(int64_t position) const {
    return (wants_next_token && position + 1 >= num_tokens()) || wants_prompt_logits(position);
  }
  bool wants_prompt_logits(int64_t position) const {
    return std::binary_search(prompt_logit_positions.begin() + static_cast<ptrdiff_t>(num_prompt_logits_taken),
                              prompt_logit_positions.end(), position);
  }
  // Whether the logits of the token at `position` say what follows the final tokens. Not so those of a guess that is
  // wrong, or follows a wrong one.
  bool names_next_token(int64_t position) const { return position + 1 == num_tokens() && position < num_computed; }

  // Whether `token` is the first guess.
  bool guesses(TokenId token) const { return num_guesses > 0 && tokens[static_cast<size_t>(num_tokens())] == token; }
  // Drops all guesses but the first `most`, which is not negative.
  void leave_guesses(int64_t most) {
    if (num_guesses <= most) return;
    tokens.resize(static_cast<size_t>(num_tokens() + most));
    num_guesses = most;
  }
};

}  // namespace octet
