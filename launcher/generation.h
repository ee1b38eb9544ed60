// Generation: one request on an engine, its outputs collected and, if wanted, told piece by piece.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "launcher/generation_result.h"
#include "runtime/engine/engine.h"
#include "runtime/text/text_stream.h"

namespace octet {

// A prompt and what is asked of its output.
struct GenerationInput {
  Request request;
  bool is_chat = false;  // the output is an answer of its own, not the prompt's continuation
};

// Without a --max-tokens, `generate` ends after so many tokens, or at the context's end.
void apply_default_max_tokens(GenerationParams& params, int64_t num_prompt_tokens, int64_t max_context);

// What Generation::submit would refuse, told before there is an engine. An unset seed is drawn.
Status check_generation(GenerationInput& input, const Tokenizer* tokenizer, const RequestBounds& bounds);

// Submits itself to an engine and collects; must outlive its request. All calls from the engine's thread.
class Generation {
 public:
  // Text of sample `index` as it is released; empty pieces are not told.
  using OnText = std::function<void(int64_t index, const std::string& text)>;

  // tokenizer: null leaves text out. An unset seed is drawn.
  Generation(GenerationInput input, const Tokenizer* tokenizer, OnText on_text = {});

  // The engine gets the prompt's tokens. kInvalidInput as Engine::submit and TextStream::create say; then on_done is
  // not called. Call once.
  Status submit(Engine& engine, std::function<void()> on_done = {});

  // Of the request. REQUIRES: submitted.
  RequestId id() const { return id_; }
  bool done() const { return num_finished_ == result_.outputs.size(); }
  const GenerationResult& result() const { return result_; }

 private:
  bool on_token(const TokenEvent& event);
  void on_finish(const FinishEvent& event);
  void release(size_t index, const std::string& text);

  GenerationInput input_;  // until it is submitted
  const Tokenizer* tokenizer_;
  OnText on_text_;
  std::function<void()> on_done_;
  std::vector<TextStream> streams_;  // of each sample; none without a tokenizer
  GenerationResult result_;
  RequestId id_ = 0;
  size_t num_finished_ = 0;
};

}  // namespace octet
