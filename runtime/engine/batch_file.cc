#include "runtime/engine/batch_file.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "runtime/base/json_text.h"

namespace octet {
namespace {

using nlohmann::json;

// Every line of an answers' file begins so.
constexpr std::string_view kAnswerBegin = "{\"id\":";

bool is_id(const json& value) { return value.is_string() || value.is_number_integer(); }

bool is_input_key(std::string_view key) { return key == "prompt" || key == "ids" || key == "messages"; }

// Takes the next line, without its end, off `text`; false at the end of the text.
bool take_line(std::string_view& text, std::string_view& line) {
  if (text.empty()) return false;
  const size_t end = std::min(text.find('\n'), text.size());
  line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return true;
}

Result<std::vector<TokenId>> read_ids(const json& object) {
  JsonFields fields(object);
  const auto ids = fields.token_ids("ids", std::numeric_limits<TokenId>::max());
  OCTET_RETURN_IF_ERROR(fields.status());
  if (!object["ids"].is_array()) return invalid_field("ids", "is {}, not an array", object["ids"].type_name());
  return *ids;
}

// False where the line does not say.
Result<bool> read_flag(const json& object, const char* name) {
  const auto flag = object.find(name);
  if (flag == object.end()) return false;
  if (!flag->is_boolean()) return invalid_field(name, "is {}, not true or false", flag->type_name());
  return flag->get<bool>();
}

// A flag belongs to one kind of input.
Status check_flags(const json& object) {
  for (const auto& [flag, input] : {std::pair("parse_special", "prompt"), std::pair("continue_last", "messages")}) {
    if (object.contains(flag) && !object.contains(input)) return invalid_field(flag, "has no effect without {}", input);
  }
  return ok_status();
}

Status read_input(const json& object, const std::string& key, BatchRequest& request) {
  const json& value = object[key];
  if (key == "prompt") {
    if (!value.is_string()) return invalid_field("prompt", "is {}, not a string", value.type_name());
    OCTET_ASSIGN_OR_RETURN(const bool parse_special, read_flag(object, "parse_special"));
    request.input = TextPrompt(value.get<std::string>(), parse_special);
  } else if (key == "ids") {
    OCTET_ASSIGN_OR_RETURN(request.input, read_ids(object));
  } else {
    OCTET_ASSIGN_OR_RETURN(std::vector<ChatMessage> messages, parse_chat_json(value.dump()));
    OCTET_ASSIGN_OR_RETURN(const bool continue_last, read_flag(object, "continue_last"));
    request.input = Conversation(std::move(messages), continue_last);
  }
  return ok_status();
}

Result<BatchRequest> read_request(const json& object, const GenerationParams& defaults) {
  BatchRequest request{.input = {}, .params = defaults};
  int num_inputs = 0;
  for (const auto& [key, value] : object.items()) {
    if (key == "id") {
      if (!is_id(value)) return invalid_field("id", "is {}, not a string or an integer", value.type_name());
    } else if (key == "parse_special" || key == "continue_last") {
      continue;  // with their input
    } else if (is_input_key(key)) {
      ++num_inputs;
      OCTET_RETURN_IF_ERROR(read_input(object, key, request));
    } else {
      OCTET_RETURN_IF_ERROR(set_generation_param(key, value, request.params));
    }
  }
  OCTET_RETURN_IF_ERROR(check_flags(object));
  if (num_inputs != 1) return invalid_input("{} of \"prompt\", \"ids\" and \"messages\", not one", num_inputs);
  return request;
}

BatchLine parse_openai(const json& object, int64_t number, const GenerationParams& defaults) {
  const json id = object.value("custom_id", json());
  BatchLine line{.id = (id.is_string() ? id : json(std::to_string(number))).dump(), .request = ok_status()};
  line.openai.emplace();
  auto parsed = parse_openai_line(object, defaults, line.openai_error);
  if (!parsed.ok()) {
    line.request = parsed.status();
    return line;
  }
  line.openai = parsed->line;
  line.request = BatchRequest{.input = std::move(parsed->input), .params = std::move(parsed->params)};
  return line;
}

// How many samples an answer in OpenAI's form has; none: it is an error.
Result<size_t> count_choices(const json& answer) {
  const json* response = answer.contains("response") ? &answer["response"] : nullptr;
  if (response == nullptr || !response->is_object() || !response->contains("status_code")) {
    return invalid_input("no response");
  }
  if ((*response)["status_code"] != 200) return 0;
  const json body = response->value("body", json());
  if (!body.is_object() || !body.contains("choices") || !body["choices"].is_array()) return invalid_input("no choices");
  return body["choices"].size();
}

}  // namespace

BatchLine parse_batch_line(std::string_view line, int64_t number, const GenerationParams& defaults) {
  const Result<json> object = parse_json_object(line);
  if (!object.ok()) return {std::to_string(number), object.status()};
  if (is_openai_line(*object)) return parse_openai(*object, number, defaults);
  const auto id = object->find("id");
  return {id != object->end() && is_id(*id) ? id->dump() : std::to_string(number), read_request(*object, defaults)};
}

std::vector<BatchLine> parse_batch(std::string_view text, const GenerationParams& defaults) {
  std::vector<BatchLine> lines;
  std::set<std::string> ids;
  std::string_view line;
  for (int64_t number = 1; take_line(text, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    BatchLine parsed = parse_batch_line(line, number, defaults);
    if (!ids.insert(parsed.id).second) {
      parsed.request = invalid_input("line {}: id {} was there before", number, parsed.id);
      parsed.openai_error = {400, parsed.request.status().message(), "custom_id"};
    }
    lines.push_back(std::move(parsed));
  }
  return lines;
}

std::string batch_error_line(const std::string& id, const Status& status) {
  nlohmann::ordered_json object;
  object["id"] = json::parse(id);
  object["error"] = status.message();
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string batch_error_line(const BatchLine& line, const Status& status, const OpenAiError& openai) {
  if (!line.openai) return batch_error_line(line.id, status);
  const std::string custom_id = json::parse(line.id).get<std::string>();
  return openai_error_line(custom_id, openai).dump(-1, ' ', false, json::error_handler_t::replace);
}

bool BatchProgress::complete(const std::string& id, int64_t num_samples) const {
  for (int64_t index = 0; index < num_samples; ++index) {
    if (!answered.contains({id, index})) return false;
  }
  return true;
}

Result<BatchProgress> scan_batch_output(std::string_view text) {
  BatchProgress progress;
  const size_t end = text.rfind('\n') + 1;  // 0 if there is none
  const std::string_view torn = text.substr(end);
  const size_t known = std::min(torn.size(), kAnswerBegin.size());
  if (torn.substr(0, known) != kAnswerBegin.substr(0, known)) {
    return invalid_input("the last line is not an answer of a batch");
  }
  text = text.substr(0, end);
  std::string_view line;
  for (int64_t number = 1; take_line(text, line); ++number) {
    const Result<json> object = parse_json_object(line);
    if (!object.ok() || !object->contains("id") || !is_id((*object)["id"])) {
      return invalid_input("line {} is not an answer of a batch", number);
    }
    if (object->contains("custom_id")) {
      const auto choices = count_choices(*object);
      if (!choices.ok()) return invalid_input("line {} is not an answer of a batch", number);
      for (size_t i = 0; i < *choices; ++i) {
        progress.answered.emplace((*object)["custom_id"].dump(), static_cast<int64_t>(i));
      }
      if (*choices > 0) progress.kept.append(line).append("\n");
      continue;
    }
    if (object->contains("error")) continue;
    JsonFields fields(*object);
    const int64_t index = fields.integer_or("index", 0, 0, std::numeric_limits<int32_t>::max());
    if (!fields.status().ok()) return invalid_input("line {}: {}", number, fields.status().message());
    progress.answered.emplace((*object)["id"].dump(), index);
    progress.kept.append(line).append("\n");
  }
  return progress;
}

Result<BatchOutput> BatchOutput::open(const std::filesystem::path& path) {
  OCTET_ASSIGN_OR_RETURN(GrowingFile file, GrowingFile::open(path));
  OCTET_ASSIGN_OR_RETURN(const std::string text, file.read());
  Result<BatchProgress> progress = scan_batch_output(text);
  if (!progress.ok()) return invalid_input("{}: {}", path.string(), progress.status().message());
  if (progress->kept != text) OCTET_RETURN_IF_ERROR(file.replace(progress->kept));
  return BatchOutput(path, *std::move(progress), std::move(file));
}

}  // namespace octet
