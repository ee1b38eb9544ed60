#include "launcher/generation.h"

namespace octet {

void apply_default_max_tokens(GenerationParams& params, int64_t num_prompt_tokens, int64_t max_context) {
  constexpr int64_t kDefaultMaxTokens = 256;
  const int64_t room = max_context - num_prompt_tokens;
  if (params.max_tokens || room <= 0) return;  // without room, the engine says so
  params.max_tokens = std::max(std::min(kDefaultMaxTokens, room), params.min_tokens);
}

Generation::Generation(GenerationInput input, const Tokenizer* tokenizer, OnText on_text)
    : input_(std::move(input)), tokenizer_(tokenizer), on_text_(std::move(on_text)) {
  if (!input_.params.sampling.seed) input_.params.sampling.seed = draw_seed();
  result_.num_prompt_tokens = std::ssize(input_.prompt);
  result_.seed = *input_.params.sampling.seed;
  result_.has_text = tokenizer != nullptr;
  result_.has_logprobs = input_.params.logprobs.has_value();
}

Request Generation::request() const {
  Request request;
  request.prompt = input_.prompt;
  request.params = input_.params;
  request.eos_ids = input_.eos_ids;
  return request;
}

Result<std::vector<TextStream>> Generation::make_streams() const {
  std::vector<TextStream> streams;
  if (tokenizer_ == nullptr) {
    if (!input_.params.stop.empty()) return invalid_input("stop: the model has no tokenizer");
    return streams;
  }
  TextStreamOptions options{.stop = input_.params.stop, .strip_leading_space = input_.is_chat};
  if (!input_.is_chat) options.prompt = input_.prompt;
  for (int64_t i = 0; i < input_.params.num_samples; ++i) {
    OCTET_ASSIGN_OR_RETURN(TextStream stream, TextStream::create(*tokenizer_, options));
    streams.push_back(std::move(stream));
  }
  return streams;
}

Status Generation::validate(const RequestBounds& bounds) const {
  OCTET_RETURN_IF_ERROR(validate_request(request(), bounds));
  return make_streams().status();
}

Status Generation::submit(Engine& engine, std::function<void()> on_done) {
  OCTET_ASSIGN_OR_RETURN(streams_, make_streams());
  on_done_ = std::move(on_done);
  result_.begin(input_.params.num_samples);
  RequestCallbacks callbacks;
  callbacks.on_token = [this](const TokenEvent& event) { return on_token(event); };
  callbacks.on_finish = [this](const FinishEvent& event) { on_finish(event); };
  OCTET_ASSIGN_OR_RETURN(id_, engine.submit(request(), std::move(callbacks)));
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
