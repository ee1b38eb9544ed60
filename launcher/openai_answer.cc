#include "launcher/openai_answer.h"

#include <ctime>

namespace octet {
namespace {

using nlohmann::ordered_json;

const char* finish_reason(FinishReason reason) {
  return reason == FinishReason::kLength || reason == FinishReason::kTimeLimit ? "length" : "stop";
}

ordered_json stop_reason(const GenerationOutput& output) {
  if (output.stop_text) return *output.stop_text;
  if (output.stop_token_id) return *output.stop_token_id;
  return output.finish_reason == FinishReason::kTimeLimit ? ordered_json("time_limit") : ordered_json();
}

ordered_json choice(const OpenAiLine& line, const GenerationOutput& output, size_t index, bool has_text) {
  const ordered_json text = has_text ? ordered_json(output.text) : ordered_json();
  ordered_json choice{{"index", index}};
  if (line.is_chat) {
    choice["message"] = {{"role", "assistant"}, {"content", text}, {"refusal", nullptr}};
  } else {
    choice["text"] = text;
  }
  choice["logprobs"] = nullptr;
  choice["finish_reason"] = finish_reason(output.finish_reason);
  choice["stop_reason"] = stop_reason(output);
  return choice;
}

}  // namespace

ordered_json openai_body(const OpenAiLine& line, const GenerationResult& result, const std::string& model,
                         const std::string& id) {
  ordered_json body;
  body["id"] = (line.is_chat ? "chatcmpl-" : "cmpl-") + id;
  body["object"] = line.is_chat ? "chat.completion" : "text_completion";
  body["created"] = static_cast<int64_t>(std::time(nullptr));
  body["model"] = model;
  body["choices"] = ordered_json::array();
  for (size_t i = 0; i < result.outputs.size(); ++i) {
    body["choices"].push_back(choice(line, result.outputs[i], i, result.has_text));
  }
  body["usage"] = {{"prompt_tokens", result.num_prompt_tokens},
                   {"completion_tokens", result.num_tokens()},
                   {"total_tokens", result.num_prompt_tokens + result.num_tokens()}};
  body["system_fingerprint"] = nullptr;
  return body;
}

}  // namespace octet
