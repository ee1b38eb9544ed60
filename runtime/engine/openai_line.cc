#include "runtime/engine/openai_line.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/base/hash.h"

namespace octet {
namespace {

using nlohmann::json;

constexpr int64_t kCompletionTokens = 16;  // without max_tokens; a chat goes to the context's end
constexpr const char* kChatUrl = "/v1/chat/completions";
constexpr const char* kCompletionsUrl = "/v1/completions";

// The body's names of what set_generation_param knows.
constexpr std::array<std::pair<const char*, const char*>, 16> kParams{{{"temperature", "temperature"},
                                                                       {"top_p", "top_p"},
                                                                       {"min_p", "min_p"},
                                                                       {"top_k", "top_k"},
                                                                       {"frequency_penalty", "frequency_penalty"},
                                                                       {"presence_penalty", "presence_penalty"},
                                                                       {"repetition_penalty", "repetition_penalty"},
                                                                       {"repeat_penalty", "repetition_penalty"},
                                                                       {"n", "num_samples"},
                                                                       {"stop", "stop"},
                                                                       {"stop_token_ids", "stop_token_ids"},
                                                                       {"ignore_eos", "ignore_eos"},
                                                                       {"min_tokens", "min_tokens"},
                                                                       {"logit_bias", "logit_bias"},
                                                                       {"seed", "seed"},
                                                                       {"max_tokens", "max_tokens"}}};

// What is refused unless it asks for nothing: null, false, 0, "", [], {} or what is named here.
constexpr std::array<std::pair<const char*, const char*>, 26> kUnsupported{{{"stream", ""},
                                                                            {"logprobs", ""},
                                                                            {"top_logprobs", ""},
                                                                            {"prompt_logprobs", ""},
                                                                            {"echo", ""},
                                                                            {"suffix", ""},
                                                                            {"use_beam_search", ""},
                                                                            {"bad_words", ""},
                                                                            {"allowed_token_ids", ""},
                                                                            {"truncate_prompt_tokens", ""},
                                                                            {"prompt_embeds", ""},
                                                                            {"functions", ""},
                                                                            {"function_call", "none"},
                                                                            {"tools", ""},
                                                                            {"tool_choice", "none"},
                                                                            {"audio", ""},
                                                                            {"web_search_options", ""},
                                                                            {"chat_template", ""},
                                                                            {"documents", ""},
                                                                            {"structured_outputs", ""},
                                                                            {"guided_json", ""},
                                                                            {"guided_regex", ""},
                                                                            {"guided_choice", ""},
                                                                            {"guided_grammar", ""},
                                                                            {"grammar", ""},
                                                                            {"json_schema", ""}}};

bool asks_for_nothing(const json& value, std::string_view nothing) {
  return value.is_null() || value == false || value == 0 || (value.is_string() && value == nothing) ||
         ((value.is_array() || value.is_object()) && value.empty());
}

class BodyParser {
 public:
  BodyParser(const json& body, OpenAiError& error) : body_(body), error_(error) {}

  Status parse(OpenAiRequest& request) {
    OCTET_RETURN_IF_ERROR(refuse_unsupported());
    if (const json* model = find("model")) {
      if (!model->is_string()) return refuse("model", "invalid_type", "is not a string");
      request.line.model = model->get<std::string>();
    }
    OCTET_RETURN_IF_ERROR(request.line.is_chat ? read_messages(request) : read_prompt(request));
    OCTET_RETURN_IF_ERROR(read_params(request));
    return read_max_tokens(request);
  }

 private:
  // null is absent.
  const json* find(const char* name) const {
    const auto found = body_.find(name);
    return found == body_.end() || found->is_null() ? nullptr : &*found;
  }

  Status refuse(const std::string& param, const char* code, const std::string& why) {
    error_ = {400, fmt::format("Invalid '{}': {}", param, why), param, code};
    return invalid_field(param, "{}", why);
  }

  Status refuse_unsupported() {
    for (const auto& [name, nothing] : kUnsupported) {
      const json* value = find(name);
      if (value != nullptr && !asks_for_nothing(*value, nothing)) {
        return refuse(name, "unsupported_parameter", "is not supported in a batch");
      }
    }
    const json* format = find("response_format");
    if (format != nullptr && *format != json{{"type", "text"}}) {
      return refuse("response_format", "unsupported_parameter", "only {\"type\": \"text\"} is supported");
    }
    const json* best_of = find("best_of");
    const json* n = find("n");
    if (best_of != nullptr && *best_of != (n == nullptr ? json(1) : *n)) {
      return refuse("best_of", "unsupported_parameter", "is not supported");
    }
    return ok_status();
  }

  Status read_prompt(OpenAiRequest& request) {
    const json* prompt = find("prompt");
    if (prompt == nullptr) return refuse("prompt", "missing_required_parameter", "is missing");
    if (prompt->is_array() && prompt->size() == 1 && !prompt->front().is_number()) prompt = &prompt->front();
    if (prompt->is_string()) {
      request.input = TextPrompt(prompt->get<std::string>());
      return prompt->get<std::string>().empty() ? refuse("prompt", "invalid_value", "is empty") : ok_status();
    }
    const auto is_id = [](const json& id) { return id.is_number_unsigned() && id <= INT32_MAX; };
    if (!prompt->is_array() || prompt->empty() || !std::ranges::all_of(*prompt, is_id)) {
      return refuse("prompt", "invalid_type",
                    "is neither one string nor one list of token ids (a line has one prompt)");
    }
    request.input = prompt->get<std::vector<TokenId>>();
    return ok_status();
  }

  Status read_messages(OpenAiRequest& request) {
    const json* messages = find("messages");
    if (messages == nullptr) return refuse("messages", "missing_required_parameter", "is missing");
    if (!messages->is_array()) return refuse("messages", "invalid_type", "is not a list");
    json plain = json::array();
    for (size_t i = 0; i < messages->size(); ++i) {
      json message = (*messages)[i];
      if (!message.is_object()) return refuse(fmt::format("messages[{}]", i), "invalid_type", "is not an object");
      for (const char* calls : {"tool_calls", "function_call"}) {
        if (!asks_for_nothing(message.value(calls, json()), "")) {
          return refuse(fmt::format("messages[{}].{}", i, calls), "unsupported_parameter", "is not supported");
        }
      }
      const json role = message.value("role", json());
      json kept{{"role", role == "developer" ? json("system") : role}, {"content", message.value("content", json())}};
      if (kept["content"].is_null()) kept["content"] = "";
      if (role == "assistant" && (kept["content"] == "" || kept["content"] == json::array())) continue;
      plain.push_back(std::move(kept));
    }
    auto parsed = parse_chat_json(plain.dump());
    if (!parsed.ok()) return refuse("messages", "invalid_messages", parsed.status().message());
    return read_conversation(*std::move(parsed), request);
  }

  // A last message of the assistant is continued.
  Status read_conversation(std::vector<ChatMessage> messages, OpenAiRequest& request) {
    const bool continues = !messages.empty() && messages.back().role == "assistant";
    const json* told = find("continue_final_message");
    if (continues && told != nullptr && *told == false) {
      return refuse("continue_final_message", "invalid_value", "false, and the last message is the assistant's");
    }
    if (const Status status = check_conversation(messages, continues); !status.ok()) {
      return refuse("messages", "invalid_messages", status.message());
    }
    request.input = Conversation(std::move(messages), continues);
    return ok_status();
  }

  Status set_param(const char* name, const char* param, const json& value, OpenAiRequest& request) {
    request.line.names[param] = name;
    const Status status = set_generation_param(param, value, request.params);
    return status.ok() ? status : refuse(name, "invalid_value", status.message());
  }

  Status read_params(OpenAiRequest& request) {
    for (const auto& [name, param] : kParams) {
      const json* value = find(name);
      if (value == nullptr || std::string_view(name) == "max_tokens") continue;
      json meant = *value;
      if (std::string_view(name) == "top_k" && meant == -1) meant = 0;
      if (std::string_view(name) == "seed" && meant.is_number_integer())
        meant = static_cast<uint64_t>(meant.get<int64_t>());
      OCTET_RETURN_IF_ERROR(set_param(name, param, meant, request));
    }
    return ok_status();
  }

  Status read_max_tokens(OpenAiRequest& request) {
    request.params.max_tokens.reset();
    if (!request.line.is_chat) request.params.max_tokens = kCompletionTokens;
    for (const char* name : {"max_completion_tokens", "max_tokens", "n_predict"}) {
      const json* value = find(name);
      if (value == nullptr || *value == -1) continue;
      return set_param(name, "max_tokens", *value, request);
    }
    return ok_status();
  }

  const json& body_;
  OpenAiError& error_;
};

}  // namespace

bool is_openai_line(const json& object) {
  return object.contains("custom_id") || (object.contains("url") && object.contains("body"));
}

Result<OpenAiRequest> parse_openai_line(const json& object, const GenerationParams& defaults, OpenAiError& error) {
  const auto refuse = [&error](int status_code, const char* code, const std::string& message) {
    error = {status_code, message, "", code};
    return invalid_input("{}", message);
  };
  if (!object.value("custom_id", json()).is_string()) {
    return refuse(400, "missing_required_parameter", "custom_id: is not a string");
  }
  if (object.value("method", json("POST")) != "POST") return refuse(405, "method_not_allowed", "method: is not POST");
  const json url = object.value("url", json());
  if (url != kChatUrl && url != kCompletionsUrl) {
    return refuse(404, "unsupported_endpoint", fmt::format("url: is neither {} nor {}", kChatUrl, kCompletionsUrl));
  }
  const auto body = object.find("body");
  if (body == object.end() || !body->is_object()) return refuse(400, "invalid_json", "body: is not an object");
  OpenAiRequest request{.line = {.is_chat = url == kChatUrl, .model = {}}, .input = {}, .params = defaults};
  OCTET_RETURN_IF_ERROR(BodyParser(*body, error).parse(request));
  return request;
}

std::string openai_field(const OpenAiLine& line, std::string_view field) {
  if (field == "prompt") return line.is_chat ? "messages" : "prompt";
  const auto given = line.names.find(std::string(field));
  if (given != line.names.end()) return given->second;
  const auto* known = std::ranges::find(kParams, field, [](const auto& names) { return names.second; });
  return known == kParams.end() ? "" : known->first;
}

nlohmann::ordered_json openai_answer_line(const std::string& custom_id, int status_code, nlohmann::ordered_json body) {
  nlohmann::ordered_json line;
  line["id"] = fmt::format("batch_req_{:016x}", hash_text(custom_id));
  line["custom_id"] = custom_id;
  line["response"] = {{"status_code", status_code}, {"request_id", line["id"]}, {"body", std::move(body)}};
  line["error"] = nullptr;
  return line;
}

nlohmann::ordered_json openai_error_line(const std::string& custom_id, const OpenAiError& error) {
  nlohmann::ordered_json body;
  body["error"] = {{"message", error.message},
                   {"type", error.status_code < 500 ? "invalid_request_error" : "server_error"},
                   {"param", error.param.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(error.param)},
                   {"code", error.code}};
  return openai_answer_line(custom_id, error.status_code, std::move(body));
}

}  // namespace octet
