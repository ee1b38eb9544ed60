// Generation: one request on an engine, its outputs collected and, if wanted, told piece by piece.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "runtime/engine/engine.h"
#include "runtime/session/generation_result.h"
#include "runtime/session/output_assembler.h"

namespace octet {

// Without a --max-tokens, `generate` ends after so many tokens, or at the context's end.
void apply_default_max_tokens(GenerationParams& params, int64_t num_prompt_tokens, int64_t max_context);

// What Generation::submit would refuse, told before there is an engine. An unset seed is drawn.
Status check_generation(GenerateCall& call, const Tokenizer* tokenizer, const RequestBounds& bounds);

// Submits itself to an engine and collects; must outlive its request. All calls from the engine's thread.
class Generation final : private OutputSink {
 public:
  // Text of sample `index` as it is released; empty pieces are not told.
  using OnText = std::function<void(int64_t index, const std::string& text)>;

  // tokenizer: null leaves text out. An unset seed is drawn.
  Generation(GenerateCall call, const Tokenizer* tokenizer, OnText on_text = {});

  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  // The engine gets the tokens. kInvalidInput as Engine::submit and OutputAssembler::create say; then on_done is not
  // called. Call once.
  Status submit(Engine& engine, std::function<void()> on_done = {});

  // Of the request. REQUIRES: submitted.
  RequestId id() const { return id_; }
  bool done() const { return assembler_ && assembler_->done(); }
  const GenerationResult& result() const { return result_; }

 private:
  void push(const GenerateCall& call, OutputChunk chunk) override;
  void on_finish(const FinishEvent& event);

  GenerateCall call_;  // without its tokens, once submitted
  const Tokenizer* tokenizer_;
  OnText on_text_;
  std::function<void()> on_done_;
  std::optional<OutputAssembler> assembler_;  // once submitted
  GenerationResult result_;
  RequestId id_ = 0;
};

}  // namespace octet
