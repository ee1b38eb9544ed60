// Conversations as users give them, before any template.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"

namespace octet {

struct ChatMessage {
  std::string role;  // "system", "user" or "assistant"
  std::string content;
  bool operator==(const ChatMessage&) const = default;
};

// Parses an array of {"role", "content"}, both strings; content may also be a list of {"type": "text", "text"}, which
// become lines of one text, and a message may have a "name", which no known format shows. Anything else, also a further
// key, is kInvalidInput: one line that counts messages from 1 (the caller adds the path).
Result<std::vector<ChatMessage>> parse_chat_json(std::string_view json);

// The rules of every conversation that is to be answered: roles are system, user and assistant; no message of the
// assistant is empty; the last message is the user's, or, with continue_last, the assistant's. Otherwise kInvalidInput.
Status check_conversation(std::span<const ChatMessage> messages, bool continue_last = false);

// The conversation with the safe prompt's text in front of its system text.
std::vector<ChatMessage> with_safe_prompt(std::vector<ChatMessage> messages);

}  // namespace octet
