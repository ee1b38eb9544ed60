#include "launcher/generation.h"

namespace octet {
namespace {

void draw_unset_seed(SamplingParams& sampling) {
  if (!sampling.seed) sampling.seed = draw_seed();
}

// The text of each sample; none without a tokenizer.
Result<std::vector<TextStream>> make_streams(const GenerationInput& input, const Tokenizer* tokenizer) {
  const GenerationParams& params = input.request.params;
  std::vector<TextStream> streams;
  if (tokenizer == nullptr) {
    if (!params.stop.empty()) return invalid_input("stop: the model has no tokenizer");
    return streams;
  }
  TextStreamOptions options{.stop = params.stop, .strip_leading_space = input.is_chat};
  if (!input.is_chat) options.prompt = input.request.prompt;
  for (int64_t i = 0; i < params.num_samples; ++i) {
    OCTET_ASSIGN_OR_RETURN(TextStream stream, TextStream::create(*tokenizer, options));
    streams.push_back(std::move(stream));
  }
  return streams;
}

}  // namespace

void apply_default_max_tokens(GenerationParams& params, int64_t num_prompt_tokens, int64_t max_context) {
  constexpr int64_t kDefaultMaxTokens = 256;
  const int64_t room = max_context - num_prompt_tokens;
  if (params.max_tokens || room <= 0) return;  // without room, the engine says so
  params.max_tokens = std::max(std::min(kDefaultMaxTokens, room), params.min_tokens);
}

Status check_generation(GenerationInput& input, const Tokenizer* tokenizer, const RequestBounds& bounds) {
  draw_unset_seed(input.request.params.sampling);
  OCTET_RETURN_IF_ERROR(validate_request(input.request, bounds));
  return make_streams(input, tokenizer).status();
}

Generation::Generation(GenerationInput input, const Tokenizer* tokenizer, OnText on_text)
    : input_(std::move(input)), tokenizer_(tokenizer), on_text_(std::move(on_text)) {
  GenerationParams& params = input_.request.params;
  draw_unset_seed(params.sampling);
  result_.num_prompt_tokens = std::ssize(input_.request.prompt);
  result_.seed = *params.sampling.seed;
  result_.has_text = tokenizer != nullptr;
  result_.has_logprobs = params.logprobs.has_value();
}

Status Generation::submit(Engine& engine, std::function<void()> on_done) {
  OCTET_ASSIGN_OR_RETURN(streams_, make_streams(input_, tokenizer_));
  on_done_ = std::move(on_done);
  result_.begin(input_.request.params.num_samples);
  RequestCallbacks callbacks;
  callbacks.on_token = [this](const TokenEvent& event) { return on_token(event); };
  callbacks.on_finish = [this](const FinishEvent& event) { on_finish(event); };
  OCTET_ASSIGN_OR_RETURN(id_, engine.submit(std::move(input_.request), std::move(callbacks)));
  return ok_status();
}

bool Generation::on_token(const TokenEvent& event) {
  const size_t index = static_cast<size_t>(event.id.sample);
  result_.add_token(index, event.token_id, event.logprobs);
  GenerationOutput& output = result_.outputs[index];
  if (event.finish == FinishReason::kStop) output.stop_token_id = event.token_id;
  // A token that ends the text is not part of it.
  if (event.finish == FinishReason::kStop || event.finish == FinishReason::kEos) return true;
  if (streams_.empty()) return false;
  release(index, streams_[index].add(event.token_id));
  output.stop_text = streams_[index].stop();
  return output.stop_text.has_value();
}

void Generation::on_finish(const FinishEvent& event) {
  const size_t index = static_cast<size_t>(event.id.sample);
  GenerationOutput& output = result_.outputs[index];
  if (!streams_.empty()) release(index, streams_[index].flush());
  output.finish_reason = event.reason;
  output.status = event.status;
  ++num_finished_;
  if (done() && on_done_) on_done_();
}

void Generation::release(size_t index, const std::string& text) {
  if (text.empty()) return;
  result_.outputs[index].text += text;
  if (on_text_) on_text_(static_cast<int64_t>(index), text);
}

}  // namespace octet
