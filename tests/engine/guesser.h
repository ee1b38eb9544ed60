// A drafter for tests, which knows what the sequences will be: it guesses random lengths of it, and often goes wrong.
#pragma once

#include <algorithm>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "runtime/engine/engine.h"
#include "tests/engine/recorder.h"

namespace octet {

// Guesses at most so many tokens at once.
inline constexpr int64_t kMostGuesses = 9;

class Guesser {
 public:
  Guesser(int64_t vocab_size, uint64_t seed) : vocab_size_(vocab_size), rng_(seed) {}

  // What the request was given when it was alone. Of a request that it does not know it guesses nothing.
  void learn(RequestId id, const Request& request, const Recorder& alone) {
    for (const auto& [sample, record] : alone.samples) {
      std::vector<TokenId>& tokens = known_[{id, sample}];
      tokens = request.prompt;
      tokens.insert(tokens.end(), request.resumed_output.begin(), request.resumed_output.end());
      tokens.insert(tokens.end(), record.tokens.begin(), record.tokens.end());
    }
  }

  // Valid as long as this.
  Drafter drafter() {
    return [this](const Sequence& sequence, int64_t most, std::vector<TokenId>& guesses) {
      guess(sequence, most, guesses);
    };
  }

  int64_t num_guesses() const { return num_guesses_; }

 private:
  void guess(const Sequence& sequence, int64_t most, std::vector<TokenId>& guesses) {
    EXPECT_EQ(sequence.num_guesses, 0) << "guesses have outlived their step";
    const auto it = known_.find(sequence.id);
    if (it == known_.end()) return;
    const std::vector<TokenId>& tokens = it->second;
    ASSERT_TRUE(std::ranges::equal(sequence.tokens, std::span(tokens).first(sequence.tokens.size())));
    const int64_t count = random_below(std::min(most, kMostGuesses) + 1);
    const int64_t num_right = random_below(count + 1);
    for (int64_t i = 0; i < count; ++i) {
      const auto position = static_cast<size_t>(sequence.num_tokens() + i);
      const bool right = i < num_right && position < tokens.size();
      guesses.push_back(right ? tokens[position] : static_cast<TokenId>(random_below(vocab_size_)));
    }
    num_guesses_ += count;
  }

  int64_t random_below(int64_t bound) { return static_cast<int64_t>(rng_() % static_cast<uint64_t>(bound)); }

  int64_t vocab_size_;
  std::mt19937_64 rng_;
  std::map<SequenceId, std::vector<TokenId>> known_;
  int64_t num_guesses_ = 0;
};

}  // namespace octet
