#include "launcher/prompt_builder.h"

#include "launcher/paths.h"
#include "launcher/text_input.h"
#include "runtime/base/utf8.h"

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

void declare_prompt_flags(CLI::App& app, PromptFlags& flags, CLI::Option* chat) {
  app.add_flag("--continue-last", flags.continue_last,
               "the conversation ends with a message of the assistant, and the output goes on with it")
      ->needs(chat);
  app.add_option("--parse-special", flags.parse_special,
                 "on: names of control tokens in the prompt (<|im_start|>, </s>) are these tokens; off: all is text. A "
                 "prompt that begins with BOS gets no second one")
      ->check(CLI::IsMember({"on", "off"}))
      ->excludes(chat)
      ->capture_default_str();
}

Result<Conversation> parse_chat_file(const std::string& path, std::string_view text, bool continue_last) {
  auto messages = parse_chat_json(text);
  if (!messages.ok()) return invalid_input("{}: {}", path, messages.status().message());
  if (const Status status = check_conversation(*messages, continue_last); !status.ok()) {
    const bool hint = !continue_last && !messages->empty() && messages->back().role == "assistant";
    return invalid_input("{}: {}{}", path, status.message(),
                         hint ? " (--continue-last goes on with the last one)" : "");
  }
  return Conversation(*std::move(messages), continue_last);
}

Result<const ChatTemplate*> PromptBuilder::chat_template(const Tokenizer& tokenizer) {
  if (!template_) {
    OCTET_ASSIGN_OR_RETURN(template_, open_chat_template(flags_, session_.path(), tokenizer));
  }
  return &*template_;
}

Status PromptBuilder::build_answer(Conversation conversation, GenerateCall& call) {
  std::vector<ChatMessage>& messages = conversation.messages;
  for (size_t i = 0; i < messages.size(); ++i) {
    if (!is_valid_utf8(messages[i].content)) return invalid_input("message {}: is not UTF-8", i + 1);
  }
  OCTET_ASSIGN_OR_RETURN(const Tokenizer* tokenizer, session_.require_tokenizer());
  OCTET_ASSIGN_OR_RETURN(const ChatTemplate* format, chat_template(*tokenizer));
  if (flags_.safe_prompt) messages = with_safe_prompt(std::move(messages));
  OCTET_ASSIGN_OR_RETURN(call.request.prompt, format->encode(messages, *tokenizer, conversation.continue_last));
  if (const auto end = format->answer_end_id(*tokenizer)) call.request.eos_ids.push_back(*end);
  call.is_chat = !conversation.continue_last;
  return ok_status();
}

Result<GenerateCall> PromptBuilder::build(PromptSource source, GenerationParams params) {
  GenerateCall call;
  call.request.params = std::move(params);
  call.request.eos_ids = session_.special_tokens().end;
  if (const auto* prompt = std::get_if<TextPrompt>(&source)) {
    OCTET_ASSIGN_OR_RETURN(const Tokenizer* tokenizer, session_.require_tokenizer());
    OCTET_RETURN_IF_ERROR(check_utf8(prompt->text, "the prompt"));
    call.request.prompt = tokenizer->with_special_tokens(tokenizer->encode_prompt(prompt->text, prompt->parse_special));
  } else if (auto* ids = std::get_if<std::vector<TokenId>>(&source)) {
    call.request.prompt = std::move(*ids);
  } else {
    OCTET_RETURN_IF_ERROR(build_answer(std::get<Conversation>(std::move(source)), call));
  }
  return call;
}

}  // namespace octet
