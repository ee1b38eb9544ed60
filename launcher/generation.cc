#include "launcher/generation.h"

namespace octet {

void apply_default_max_tokens(GenerationInput& input, const RequestBounds& bounds) {
  constexpr int64_t kDefaultMaxTokens = 256;
  const int64_t room = bounds.max_context - std::ssize(input.prompt);
  if (input.params.max_tokens || room <= 0) return;  // without room, the engine says so
  input.params.max_tokens = std::max(std::min(kDefaultMaxTokens, room), input.params.min_tokens);
}

Generation::Generation(GenerationInput input, const Tokenizer* tokenizer, OnText on_text)
    : input_(std::move(input)), tokenizer_(tokenizer), on_text_(std::move(on_text)) {
  if (!input_.params.sampling.seed) input_.params.sampling.seed = draw_seed();
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
  TextStreamOptions options{input_.params.stop, {}, input_.is_chat};
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
  submitted_ = first_token_ = last_token_ = Clock::now();
  RequestCallbacks callbacks;
  callbacks.on_token = [this](const TokenEvent& event) { return on_token(event); };
  callbacks.on_finish = [this](const FinishEvent& event) { on_finish(event); };
  OCTET_ASSIGN_OR_RETURN(id_, engine.submit(request(), std::move(callbacks)));
  outputs_.resize(static_cast<size_t>(input_.params.num_samples));
  return ok_status();
}

bool Generation::on_token(const TokenEvent& event) {
  last_token_ = Clock::now();
  if (num_tokens_++ == 0) first_token_ = last_token_;
  const size_t index = static_cast<size_t>(event.id.sample);
  GenerationOutput& output = outputs_[index];
  output.token_ids.push_back(event.token_id);
  if (event.logprobs != nullptr) output.logprobs.push_back({event.token_id, *event.logprobs});
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
  GenerationOutput& output = outputs_[index];
  if (!streams_.empty()) release(index, streams_[index].flush());
  output.finish_reason = event.reason;
  output.status = event.status;
  ++num_finished_;
  if (done() && on_done_) on_done_();
}

void Generation::release(size_t index, const std::string& text) {
  if (text.empty()) return;
  outputs_[index].text += text;
  if (on_text_) on_text_(static_cast<int64_t>(index), text);
}

double Generation::prefill_tokens_per_second() const {
  const double duration = time_to_first_token();
  return duration > 0 ? static_cast<double>(input_.prompt.size()) / duration : 0;
}

double Generation::decode_tokens_per_second() const {
  const double duration = seconds(first_token_, last_token_);
  const int64_t num_first = std::ssize(outputs_);  // every sample's first token comes out of the prefill
  return duration > 0 ? static_cast<double>(num_tokens_ - num_first) / duration : 0;
}

nlohmann::ordered_json Generation::to_json(size_t index, std::optional<double> load_seconds) const {
  const GenerationOutput& output = outputs_[index];
  nlohmann::ordered_json json;
  json["text"] = tokenizer_ == nullptr ? nlohmann::ordered_json() : nlohmann::ordered_json(output.text);
  json["token_ids"] = output.token_ids;
  json["finish_reason"] = finish_reason_name(output.finish_reason);
  json["usage"] = {{"prompt_tokens", input_.prompt.size()}, {"completion_tokens", output.token_ids.size()}};
  if (load_seconds) json["timings"]["load_s"] = *load_seconds;
  json["timings"]["time_to_first_token_s"] = time_to_first_token();
  json["timings"]["prefill_tokens_per_s"] = prefill_tokens_per_second();
  json["timings"]["decode_tokens_per_s"] = decode_tokens_per_second();
  if (input_.params.logprobs) {
    auto& list = json["logprobs"] = nlohmann::ordered_json::array();
    for (const TokenReport& report : output.logprobs) {
      auto top = nlohmann::ordered_json::array();
      for (const TokenLogprob& entry : report.logprobs.top) top.push_back({entry.token_id, entry.logprob});
      list.push_back({{"token_id", report.token_id}, {"logprob", report.logprobs.chosen}, {"top", top}});
    }
  }
  json["seed"] = seed();
  if (output.stop_text) json["stop"] = *output.stop_text;
  if (output.stop_token_id) json["stop"] = *output.stop_token_id;
  return json;
}

}  // namespace octet
