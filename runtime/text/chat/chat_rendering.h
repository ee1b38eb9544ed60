// What a chat template makes of a conversation, before any tokenizer.
#pragma once

#include <span>

#include "runtime/base/status.h"
#include "runtime/text/chat/chat_message.h"
#include "runtime/text/chat/chat_template_file.h"

namespace octet {

// The parts of the prompt, with the messages in their places, each a part of its own. Messages obey check_conversation;
// with continue_last the last one is the assistant's, and the prompt ends with it. kInvalidInput, one line, where the
// template has no place for a message.
Result<TemplateParts> render_conversation(const ChatTemplateSpec& spec, std::span<const ChatMessage> messages,
                                          bool continue_last = false);

}  // namespace octet
