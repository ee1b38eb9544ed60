// Generation: one request on an engine, its outputs collected and, if wanted, told piece by piece.
#pragma once

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/engine/engine.h"
#include "runtime/model/text_stream.h"

namespace octet {

// A prompt and what is asked of its output.
struct GenerationInput {
  std::vector<TokenId> prompt;
  GenerationParams params;
  std::vector<TokenId> eos_ids;
  bool is_chat = false;  // the output is an answer of its own, not the prompt's continuation
};

// Without a --max-tokens, `generate` ends after so many tokens, or at the context's end.
void apply_default_max_tokens(GenerationInput& input, const RequestBounds& bounds);

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

// Submits itself to an engine and collects; must outlive its request. All calls from the engine's thread.
class Generation {
 public:
  using Clock = std::chrono::steady_clock;
  // Text of sample `index` as it is released; empty pieces are not told.
  using OnText = std::function<void(int64_t index, const std::string& text)>;

  // tokenizer: null leaves text out. An unset seed is drawn.
  Generation(GenerationInput input, const Tokenizer* tokenizer, OnText on_text = {});

  // What submit() would refuse, told before there is an engine.
  Status validate(const RequestBounds& bounds) const;
  // kInvalidInput as Engine::submit and TextStream::create say; then on_done is not called.
  Status submit(Engine& engine, std::function<void()> on_done = {});

  // Of the request. REQUIRES: submitted.
  RequestId id() const { return id_; }
  bool done() const { return num_finished_ == outputs_.size(); }
  const std::vector<GenerationOutput>& outputs() const { return outputs_; }
  int64_t num_tokens() const { return num_tokens_; }  // of all outputs, so far
  uint64_t seed() const { return *input_.params.sampling.seed; }

  // The object of `generate --json` for one sample; load_seconds unset leaves its entry out.
  nlohmann::ordered_json to_json(size_t index, std::optional<double> load_seconds) const;
  double time_to_first_token() const { return seconds(submitted_, first_token_); }
  double prefill_tokens_per_second() const;
  double decode_tokens_per_second() const;  // 0 with a single token

 private:
  static double seconds(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
  }
  Request request() const;
  Result<std::vector<TextStream>> make_streams() const;
  bool on_token(const TokenEvent& event);
  void on_finish(const FinishEvent& event);
  void release(size_t index, const std::string& text);

  GenerationInput input_;
  const Tokenizer* tokenizer_;
  OnText on_text_;
  std::function<void()> on_done_;
  std::vector<TextStream> streams_;  // of each sample; none without a tokenizer
  std::vector<GenerationOutput> outputs_;
  RequestId id_ = 0;
  size_t num_finished_ = 0;
  int64_t num_tokens_ = 0;
  Clock::time_point submitted_, first_token_, last_token_;
};

}  // namespace octet
