// Lines of OpenAI's batch files, {"custom_id", "method", "url", "body"}, and errors in its form.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "runtime/base/status.h"
#include "runtime/checkpoint/generation_params.h"
#include "runtime/engine/prompt_source.h"

namespace octet {

// What the answer has to know of a line.
struct OpenAiLine {
  bool is_chat = false;                           // of /v1/chat/completions, not of /v1/completions
  std::string model;                              // as asked for; empty: whatever there is
  std::map<std::string, std::string> names = {};  // what the body calls the parameters that it sets
};

// What is wrong with a request, as the `error` of an answer has it.
struct OpenAiError {
  int status_code = 400;
  std::string message;
  std::string param;  // the field; empty: none
  std::string code = "invalid_value";
};

struct OpenAiRequest {
  OpenAiLine line;
  PromptSource input;
  GenerationParams params;
};

// Whether a line is of this form, whatever else is wrong with it.
bool is_openai_line(const nlohmann::json& object);

// kInvalidInput where the line is none of this form's requests; then `error` says it in that form. Fields that ask for
// what is not there are refused unless they ask for nothing; unknown ones are passed over, as are those without effect
// on the tokens.
Result<OpenAiRequest> parse_openai_line(const nlohmann::json& object, const GenerationParams& defaults,
                                        OpenAiError& error);

// What a line's body calls a field of a request that the engine refuses (Status::field); empty where it has no name
// there.
std::string openai_field(const OpenAiLine& line, std::string_view field);

// The line of an answer, whose body is {"error": …}.
nlohmann::ordered_json openai_error_line(const std::string& custom_id, const OpenAiError& error);
// The line of an answer with this body.
nlohmann::ordered_json openai_answer_line(const std::string& custom_id, int status_code, nlohmann::ordered_json body);

}  // namespace octet
