#include "runtime/text/chat/chat_message.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace octet {
namespace {

using nlohmann::json;

constexpr std::string_view kSafePrompt =
    "Always assist with care, respect, and truth. Respond with utmost utility yet securely. Avoid harmful, unethical, "
    "prejudiced, or negative content. Ensure replies promote fairness and positivity.";

// The lines of a list of parts.
Result<std::string> parse_parts(const json& parts, size_t number) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    const json& part = parts[i];
    const bool is_text = part.is_object() && part.contains("type") && part["type"] == "text";
    if (!is_text || !part.contains("text") || !part["text"].is_string()) {
      return invalid_input("message {}: 'content': part {} is not {{\"type\": \"text\", \"text\": …}}", number, i + 1);
    }
    text += (i == 0 ? "" : "\n") + part["text"].get<std::string>();
  }
  return text;
}

Result<ChatMessage> parse_message(const json& object, size_t number) {
  if (!object.is_object()) return invalid_input("message {} is not an object", number);
  ChatMessage message;
  for (const auto& [key, value] : object.items()) {
    if (key != "role" && key != "content" && key != "name") {
      return invalid_input("message {}: unknown key {:?}", number, key);
    }
    if (key == "content" && value.is_array()) {
      OCTET_ASSIGN_OR_RETURN(message.content, parse_parts(value, number));
      continue;
    }
    if (!value.is_string()) {
      return invalid_input("message {}: '{}' is not a string{}", number, key, key == "content" ? " or a list" : "");
    }
    if (key != "name") (key == "role" ? message.role : message.content) = value.get<std::string>();
  }
  for (const char* key : {"role", "content"}) {
    if (!object.contains(key)) return invalid_input("message {} has no '{}'", number, key);
  }
  return message;
}

}  // namespace

Result<std::vector<ChatMessage>> parse_chat_json(std::string_view text) {
  const json array = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (array.is_discarded()) return invalid_input("not valid JSON");
  if (!array.is_array()) return invalid_input("not an array of messages");
  std::vector<ChatMessage> messages;
  for (const json& object : array) {
    OCTET_ASSIGN_OR_RETURN(ChatMessage message, parse_message(object, messages.size() + 1));
    messages.push_back(std::move(message));
  }
  return messages;
}

Status check_conversation(std::span<const ChatMessage> messages, bool continue_last) {
  if (messages.empty()) return invalid_input("the conversation has no messages");
  size_t number = 0;
  for (const ChatMessage& message : messages) {
    ++number;
    if (message.role != "system" && message.role != "user" && message.role != "assistant") {
      return invalid_input("message {}: role {:?} is not system, user or assistant", number, message.role);
    }
    if (message.role == "assistant" && message.content.empty()) {
      return invalid_input("message {}: a message of the assistant may not be empty", number);
    }
  }
  if (continue_last && messages.back().role != "assistant") {
    return invalid_input("the last message must be the assistant's, to be continued");
  }
  if (!continue_last && messages.back().role != "user") return invalid_input("the last message must be the user's");
  return ok_status();
}

std::vector<ChatMessage> with_safe_prompt(std::vector<ChatMessage> messages) {
  if (messages.empty() || messages.front().role != "system") {
    messages.insert(messages.begin(), {"system", std::string(kSafePrompt)});
  } else {
    messages.front().content.insert(0, std::string(kSafePrompt) + "\n\n");
  }
  return messages;
}

}  // namespace octet
