#include "launcher/prompt_builder.h"

#include "launcher/paths.h"

namespace octet {

void declare_chat_flags(CLI::App& app, ChatFlags& flags) {
  app.add_option("--chat-template", flags.chat_template,
                 "how conversations become prompts: a name in configs/chat-templates or a .toml file (default: what "
                 "the checkpoint says, else mixtral-instruct-v1)")
      ->type_name("NAME");
  app.add_flag("--safe-prompt", flags.safe_prompt, "put Mistral's safety instructions in front of a conversation");
}

Result<ChatTemplate> open_chat_template(const ChatFlags& flags, const std::filesystem::path& model_dir,
                                        const Tokenizer& tokenizer) {
  const std::filesystem::path templates = configs_dir() / "chat-templates";
  if (!flags.chat_template.empty()) return ChatTemplate::load(templates, flags.chat_template);
  return ChatTemplate::recognise(templates, model_dir, tokenizer);
}

Result<std::vector<ChatMessage>> parse_chat_file(const std::string& path, std::string_view text) {
  auto messages = parse_chat_json(text);
  if (!messages.ok()) return invalid_input("{}: {}", path, messages.status().message());
  if (const Status status = check_conversation(*messages); !status.ok()) {
    return invalid_input("{}: {}", path, status.message());
  }
  return messages;
}

Result<const ChatTemplate*> PromptBuilder::chat_template(const Tokenizer& tokenizer) {
  if (!template_) {
    OCTET_ASSIGN_OR_RETURN(template_, open_chat_template(flags_, session_.path(), tokenizer));
  }
  return &*template_;
}

Status PromptBuilder::build_answer(std::vector<ChatMessage> messages, GenerationInput& input) {
  OCTET_ASSIGN_OR_RETURN(const Tokenizer* tokenizer, session_.require_tokenizer());
  OCTET_ASSIGN_OR_RETURN(const ChatTemplate* format, chat_template(*tokenizer));
  if (flags_.safe_prompt) messages = with_safe_prompt(std::move(messages));
  OCTET_ASSIGN_OR_RETURN(input.prompt, format->encode(messages, *tokenizer));
  if (const auto end = format->answer_end_id(*tokenizer)) input.eos_ids.push_back(*end);
  input.is_chat = true;
  return ok_status();
}

Result<GenerationInput> PromptBuilder::build(const PromptSource& source, GenerationParams params) {
  GenerationInput input{.prompt = {}, .params = std::move(params), .eos_ids = session_.special_tokens().end};
  if (const auto* text = std::get_if<std::string>(&source)) {
    OCTET_ASSIGN_OR_RETURN(const Tokenizer* tokenizer, session_.require_tokenizer());
    input.prompt = tokenizer->with_special_tokens(tokenizer->encode(*text));
  } else if (const auto* ids = std::get_if<std::vector<TokenId>>(&source)) {
    input.prompt = *ids;
  } else {
    OCTET_RETURN_IF_ERROR(build_answer(std::get<std::vector<ChatMessage>>(source), input));
  }
  return input;
}

}  // namespace octet
