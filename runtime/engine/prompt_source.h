// PromptSource: a prompt as people give it, before it is tokens.
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "runtime/base/tensor.h"
#include "runtime/text/chat/chat_message.h"

namespace octet {

// Text; BOS goes in front.
struct TextPrompt {
  TextPrompt(std::string prompt = {}, bool special = false)  // NOLINT: implicit by design
      : text(std::move(prompt)), parse_special(special) {}
  TextPrompt(const char* prompt) : text(prompt) {}  // NOLINT

  std::string text;
  bool parse_special = false;  // the names of control tokens in it are these tokens
};

// Messages to be answered, or the last of which, the assistant's, is to be continued.
struct Conversation {
  Conversation(std::vector<ChatMessage> all, bool continues = false)  // NOLINT: implicit by design
      : messages(std::move(all)), continue_last(continues) {}

  std::vector<ChatMessage> messages;
  bool continue_last;
};

// Token ids are used as given.
using PromptSource = std::variant<TextPrompt, std::vector<TokenId>, Conversation>;

}  // namespace octet
