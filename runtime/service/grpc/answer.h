// Answer: the chunks of one request, made from what the engine tells.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/engine/request.h"
#include "runtime/service/grpc/request_parser.h"
#include "runtime/service/grpc/response_sink.h"
#include "runtime/service/octet.pb.h"
#include "runtime/service/served_model.h"
#include "runtime/text/text_stream.h"

namespace octet {

// All calls but create from the engine's thread. The model and the sink outlive it.
class Answer {
 public:
  // Reads the resumed output. kInvalidInput with the field where a stop string or token has ended it already.
  static Result<Answer> create(const GenerationJob& job, const ServedModel& model, ResponseSink& sink);

  // The engine's callbacks. on_token: whether the text has met a stop string.
  bool on_token(const TokenEvent& event);
  void on_prompt_logprobs(const PromptTokenEvent& event);
  void on_finish(const FinishEvent& event);

  bool done() const { return num_finished_ == std::ssize(samples_); }

 private:
  // One output. Without a tokenizer it has no text.
  struct Sample {
    std::optional<TextStream> text;
    v1::GenerateChunk chunk;  // under way
    bool started = false;
  };

  Answer(const GenerationJob& job, const ServedModel& model, ResponseSink& sink)
      : job_(job), model_(model), sink_(sink) {}
  Status start_sample();
  Status read_resumed(TextStream& text) const;
  std::string prompt_text() const;
  void begin(Sample& sample, uint32_t index);
  v1::Token& add_token(v1::GenerateChunk& chunk, TokenId id, bool is_prompt) const;
  void send(Sample& sample);
  bool lists_tokens() const {
    return job_.return_token_ids || job_.request.params.logprobs || job_.request.routed_experts;
  }

  const GenerationJob& job_;
  std::vector<TokenId> prompt_;  // what is shown of it: all (echo), its first token (prompt_logprobs), nothing
  const ServedModel& model_;
  ResponseSink& sink_;
  std::vector<Sample> samples_;
  int64_t num_finished_ = 0;
};

}  // namespace octet
