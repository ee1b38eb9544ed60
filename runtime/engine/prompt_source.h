// PromptSource: a prompt as people give it, before it is tokens.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "runtime/base/tensor.h"
#include "runtime/model/chat_message.h"

namespace octet {

// Text (BOS goes in front), token ids (used as given), or a conversation to be answered.
using PromptSource = std::variant<std::string, std::vector<TokenId>, std::vector<ChatMessage>>;

}  // namespace octet
