// Prompts from what people give: text, token ids, conversations.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/engine/prompt_source.h"
#include "runtime/session/generate_call.h"
#include "runtime/session/session.h"
#include "runtime/text/chat/chat_template.h"

namespace octet {

struct ChatFlags {
  std::string chat_template;  // a template's name or file; empty: the checkpoint's
  bool safe_prompt = false;
};

void declare_chat_flags(CLI::App& app, ChatFlags& flags);

// The template that the flags name, else that of the checkpoint in `model_dir`.
Result<ChatTemplate> open_chat_template(const ChatFlags& flags, const std::filesystem::path& model_dir,
                                        const Tokenizer& tokenizer);

// Of commands that take a conversation or a prompt once.
struct PromptFlags {
  bool continue_last = false;
  std::string parse_special = "off";
};

// --continue-last and --parse-special. chat: the option --chat, which the one needs and the other excludes.
void declare_prompt_flags(CLI::App& app, PromptFlags& flags, CLI::Option* chat);

// A conversation from the text of a file; errors begin with `path`.
Result<Conversation> parse_chat_file(const std::string& path, std::string_view text, bool continue_last);

// Builds what a model is asked. Not thread-safe; the session outlives it.
class PromptBuilder {
 public:
  PromptBuilder(const Session& session, ChatFlags flags) : session_(session), flags_(std::move(flags)) {}

  // kInvalidInput where the model has no tokenizer for text, no template for a conversation, or the conversation breaks
  // the rules.
  Result<GenerateCall> build(PromptSource source, GenerationParams params);

 private:
  // Opened when the first conversation comes: without one, an unknown template is nobody's trouble.
  Result<const ChatTemplate*> chat_template(const Tokenizer& tokenizer);
  Status build_answer(Conversation conversation, GenerateCall& call);

  const Session& session_;
  ChatFlags flags_;
  std::optional<ChatTemplate> template_;
};

}  // namespace octet
