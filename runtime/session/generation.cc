#include "runtime/session/generation.h"

namespace octet {
namespace {

// For an answer that never comes.
class NoSink final : public OutputSink {
 public:
  void push(const GenerateCall&, OutputChunk) override {}
};

void draw_unset_seed(SamplingParams& sampling) {
  if (!sampling.seed) sampling.seed = draw_seed();
}

}  // namespace

void apply_default_max_tokens(GenerationParams& params, int64_t num_prompt_tokens, int64_t max_context) {
  constexpr int64_t kDefaultMaxTokens = 256;
  const int64_t room = max_context - num_prompt_tokens;
  if (params.max_tokens || room <= 0) return;  // without room, the engine says so
  params.max_tokens = std::max(std::min(kDefaultMaxTokens, room), params.min_tokens);
}

Status check_generation(GenerateCall& call, const Tokenizer* tokenizer, const RequestBounds& bounds) {
  draw_unset_seed(call.request.params.sampling);
  OCTET_RETURN_IF_ERROR(validate_request(call.request, bounds));
  NoSink sink;
  return OutputAssembler::create(call, tokenizer, sink).status();
}

Generation::Generation(GenerateCall call, const Tokenizer* tokenizer, OnText on_text)
    : call_(std::move(call)), tokenizer_(tokenizer), on_text_(std::move(on_text)) {
  GenerationParams& params = call_.request.params;
  draw_unset_seed(params.sampling);
  call_.return_token_ids = true;
  result_.num_prompt_tokens = std::ssize(call_.request.prompt);
  result_.seed = *params.sampling.seed;
  result_.has_text = tokenizer != nullptr;
  result_.has_logprobs = params.logprobs.has_value();
}

Status Generation::submit(Engine& engine, std::function<void()> on_done) {
  OCTET_ASSIGN_OR_RETURN(OutputAssembler assembler, OutputAssembler::create(call_, tokenizer_, *this));
  assembler_.emplace(std::move(assembler));
  on_done_ = std::move(on_done);
  result_.begin(call_.request.params.num_samples);
  RequestCallbacks callbacks;
  callbacks.on_token = [this](const TokenEvent& event) { return assembler_->on_token(event); };
  callbacks.on_finish = [this](const FinishEvent& event) { on_finish(event); };
  OCTET_ASSIGN_OR_RETURN(id_, engine.submit(take_request(call_), std::move(callbacks)));
  return ok_status();
}

void Generation::push(const GenerateCall&, OutputChunk chunk) {
  const auto index = static_cast<size_t>(chunk.index);
  for (const OutputToken& token : chunk.tokens) {
    result_.add_token(index, token.id, token.logprobs ? &*token.logprobs : nullptr);
  }
  GenerationOutput& output = result_.outputs[index];
  output.text += chunk.text;
  if (chunk.stop_text) output.stop_text = std::move(chunk.stop_text);
  if (chunk.stop_token_id) output.stop_token_id = chunk.stop_token_id;
  if (chunk.finish) {
    output.finish_reason = chunk.finish->reason;
    output.status = chunk.finish->status;
  }
  if (on_text_ && !chunk.text.empty()) on_text_(chunk.index, chunk.text);
}

void Generation::on_finish(const FinishEvent& event) {
  assembler_->on_finish(event);
  if (done() && on_done_) on_done_();
}

}  // namespace octet
