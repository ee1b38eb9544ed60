// OutputAssembler: the chunks of one call, made from what the engine tells.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/engine/request.h"
#include "runtime/session/generate_call.h"
#include "runtime/session/output_chunk.h"
#include "runtime/text/text_stream.h"

namespace octet {

// All calls but create from the engine's thread. The call, the tokenizer and the sink outlive it.
class OutputAssembler {
 public:
  // Reads the resumed output; the request's tokens may leave the call then. tokenizer: null leaves text out.
  // kInvalidInput where a stop string cannot be looked for, and, with the field, where a stop string or token has ended
  // the resumed output already.
  static Result<OutputAssembler> create(const GenerateCall& call, const Tokenizer* tokenizer, OutputSink& sink);

  // The engine's callbacks. on_token: whether the text has met a stop string.
  bool on_token(const TokenEvent& event);
  void on_prompt_logprobs(const PromptTokenEvent& event);
  void on_finish(const FinishEvent& event);

  bool done() const { return num_finished_ == std::ssize(samples_); }

 private:
  // One output. Without a tokenizer it has no text.
  struct Sample {
    std::optional<TextStream> text;
    OutputChunk chunk;  // under way
    bool started = false;
  };

  OutputAssembler(const GenerateCall& call, const Tokenizer* tokenizer, OutputSink& sink)
      : call_(call), tokenizer_(tokenizer), sink_(sink) {}
  Status start_sample();
  Status read_resumed(TextStream& text) const;
  std::string prompt_text() const;
  void begin(Sample& sample, int64_t index);
  OutputToken& add_token(OutputChunk& chunk, TokenId id, bool is_prompt) const;
  void send(Sample& sample);
  bool lists_tokens() const {
    return call_.return_token_ids || call_.request.params.logprobs || call_.request.routed_experts;
  }

  const GenerateCall& call_;
  std::vector<TokenId> prompt_;  // what is shown of it: all (echo), its first token (prompt_logprobs), nothing
  const Tokenizer* tokenizer_;
  OutputSink& sink_;
  std::vector<Sample> samples_;
  int64_t num_finished_ = 0;
};

}  // namespace octet
