// GenerationResult: what a prompt brought, wherever it was computed: the outputs, and how long they took.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/engine/request.h"

namespace octet {

struct TokenReport {
  TokenId token_id = 0;
  Logprobs logprobs;
};

// One sample's output.
struct GenerationOutput {
  std::string text;
  std::vector<TokenId> token_ids;
  FinishReason finish_reason = FinishReason::kNone;
  std::optional<std::string> stop_text;
  std::optional<TokenId> stop_token_id;
  std::vector<TokenReport> logprobs;  // if asked for
  Status status;                      // of FinishReason::kError
};

class GenerationResult {
 public:
  using Clock = std::chrono::steady_clock;

  // The outputs of all samples, empty, and the time from which the first token is counted: now.
  void begin(int64_t num_samples);
  // A token of output `index` has come. logprobs: null where none were asked for.
  void add_token(size_t index, TokenId token_id, const Logprobs* logprobs);

  int64_t num_tokens() const { return num_tokens_; }  // of all outputs, so far
  double time_to_first_token() const { return seconds(begun_, first_token_); }
  double prefill_tokens_per_second() const;
  double decode_tokens_per_second() const;  // 0 with a single token

  std::vector<GenerationOutput> outputs = {};
  int64_t num_prompt_tokens = 0;
  uint64_t seed = 0;
  bool has_text = true;                     // false: the model has no tokenizer
  bool has_logprobs = false;                // they were asked for
  std::optional<double> load_seconds = {};  // unset leaves their entry out

 private:
  static double seconds(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
  }

  int64_t num_tokens_ = 0;
  Clock::time_point begun_, first_token_, last_token_;
};

}  // namespace octet
