#include "launcher/result_json.h"

namespace octet {

nlohmann::ordered_json result_json(const GenerationResult& result, size_t index) {
  const GenerationOutput& output = result.outputs[index];
  nlohmann::ordered_json json;
  json["text"] = result.has_text ? nlohmann::ordered_json(output.text) : nlohmann::ordered_json();
  json["token_ids"] = output.token_ids;
  json["finish_reason"] = finish_reason_name(output.finish_reason);
  json["usage"] = {{"prompt_tokens", result.num_prompt_tokens}, {"completion_tokens", output.token_ids.size()}};
  if (result.load_seconds) json["timings"]["load_s"] = *result.load_seconds;
  json["timings"]["time_to_first_token_s"] = result.time_to_first_token();
  json["timings"]["prefill_tokens_per_s"] = result.prefill_tokens_per_second();
  json["timings"]["decode_tokens_per_s"] = result.decode_tokens_per_second();
  if (result.has_logprobs) {
    auto& list = json["logprobs"] = nlohmann::ordered_json::array();
    for (const TokenReport& report : output.logprobs) {
      auto top = nlohmann::ordered_json::array();
      for (const TokenLogprob& entry : report.logprobs.top) top.push_back({entry.token_id, entry.logprob});
      list.push_back({{"token_id", report.token_id}, {"logprob", report.logprobs.chosen}, {"top", top}});
    }
  }
  json["seed"] = result.seed;
  if (output.stop_text) json["stop"] = *output.stop_text;
  if (output.stop_token_id) json["stop"] = *output.stop_token_id;
  return json;
}

}  // namespace octet
