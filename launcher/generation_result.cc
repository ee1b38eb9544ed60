#include "launcher/generation_result.h"

namespace octet {

void GenerationResult::begin(int64_t num_samples) {
  outputs.assign(static_cast<size_t>(num_samples), {});
  num_tokens_ = 0;
  begun_ = first_token_ = last_token_ = Clock::now();
}

void GenerationResult::add_token(size_t index, TokenId token_id, const Logprobs* logprobs) {
  last_token_ = Clock::now();
  if (num_tokens_++ == 0) first_token_ = last_token_;
  outputs[index].token_ids.push_back(token_id);
  if (logprobs != nullptr) outputs[index].logprobs.push_back({token_id, *logprobs});
}

double GenerationResult::prefill_tokens_per_second() const {
  const double duration = time_to_first_token();
  return duration > 0 ? static_cast<double>(num_prompt_tokens) / duration : 0;
}

double GenerationResult::decode_tokens_per_second() const {
  const double duration = seconds(first_token_, last_token_);
  const int64_t num_first = std::ssize(outputs);  // every sample's first token comes out of the prefill
  return duration > 0 ? static_cast<double>(num_tokens_ - num_first) / duration : 0;
}

nlohmann::ordered_json GenerationResult::to_json(size_t index) const {
  const GenerationOutput& output = outputs[index];
  nlohmann::ordered_json json;
  json["text"] = has_text ? nlohmann::ordered_json(output.text) : nlohmann::ordered_json();
  json["token_ids"] = output.token_ids;
  json["finish_reason"] = finish_reason_name(output.finish_reason);
  json["usage"] = {{"prompt_tokens", num_prompt_tokens}, {"completion_tokens", output.token_ids.size()}};
  if (load_seconds) json["timings"]["load_s"] = *load_seconds;
  json["timings"]["time_to_first_token_s"] = time_to_first_token();
  json["timings"]["prefill_tokens_per_s"] = prefill_tokens_per_second();
  json["timings"]["decode_tokens_per_s"] = decode_tokens_per_second();
  if (has_logprobs) {
    auto& list = json["logprobs"] = nlohmann::ordered_json::array();
    for (const TokenReport& report : output.logprobs) {
      auto top = nlohmann::ordered_json::array();
      for (const TokenLogprob& entry : report.logprobs.top) top.push_back({entry.token_id, entry.logprob});
      list.push_back({{"token_id", report.token_id}, {"logprob", report.logprobs.chosen}, {"top", top}});
    }
  }
  json["seed"] = seed;
  if (output.stop_text) json["stop"] = *output.stop_text;
  if (output.stop_token_id) json["stop"] = *output.stop_token_id;
  return json;
}

}  // namespace octet
