// Conversations to token ids, in the format that a model was tuned on.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/text/chat/chat_message.h"
#include "runtime/text/chat/chat_template_file.h"
#include "runtime/text/tokenizer.h"

namespace octet {

// The template that a conversation gets when neither the user nor the checkpoint names one.
inline constexpr std::string_view kDefaultChatTemplate = "mixtral-instruct-v1";

// Immutable, thread-safe. Messages are only ever text: no template lets them produce a control token.
class ChatTemplate {
 public:
  // `choice`: the name of a template in `template_dir` (its file without .toml), or, with a slash or the ending .toml,
  // a file. Errors are kInvalidInput and list the names that exist.
  static Result<ChatTemplate> load(const std::filesystem::path& template_dir, std::string_view choice);

  // The template for the checkpoint in `model_dir`, which the signs in the files of `template_dir` recognise:
  // - by the Jinja template that the checkpoint brings (chat_template.jinja, or chat_template in
  //   tokenizer_config.json): a file lists those that were seen to render the same. Any other is kInvalidInput with the
  //   names that exist, never silently a format like it;
  // - without one, by the tokens of its tokenizer;
  // - with neither, kDefaultChatTemplate.
  static Result<ChatTemplate> recognise(const std::filesystem::path& template_dir,
                                        const std::filesystem::path& model_dir, const Tokenizer& tokenizer);

  // A template from its parts.
  explicit ChatTemplate(ChatTemplateSpec spec) : spec_(std::move(spec)) {}

  const std::string& name() const { return spec_.name; }

  const ChatTemplateSpec& spec() const { return spec_; }

  // The prompt of the answer that comes next, or, with continue_last, of the rest of the last message, which is the
  // assistant's; BOS included where the format has it. kInvalidInput where the messages break the rules of
  // check_conversation or of the template, or the tokenizer lacks a token of it.
  Result<std::vector<TokenId>> encode(std::span<const ChatMessage> messages, const Tokenizer& tokenizer,
                                      bool continue_last = false) const;

  // The token that closes an answer, which ends generation as EOS does; none where the format has none.
  std::optional<TokenId> answer_end_id(const Tokenizer& tokenizer) const;

 private:
  ChatTemplateSpec spec_;
};

}  // namespace octet
