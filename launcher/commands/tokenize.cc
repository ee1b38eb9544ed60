// octet tokenize and octet detokenize: text to token ids and back.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "launcher/commands/commands.h"
#include "launcher/model_options.h"
#include "launcher/output.h"
#include "launcher/prompt_builder.h"
#include "launcher/text_input.h"
#include "runtime/base/model_folder.h"
#include "runtime/text/tokenizer.h"

namespace octet {
namespace {

void declare_tokenizer_flags(CLI::App& app, ModelFlags& flags) {
  declare_model_path(app, flags);
  declare_tokenizer(app, flags);
}

Result<std::filesystem::path> tokenizer_path(const ModelFlags& flags) {
  return resolve_model_folder(flags.tokenizer.empty() ? model_path(flags) : std::filesystem::path(flags.tokenizer));
}

class TokenizeCommand final : public Command {
 public:
  const char* name() const override { return "tokenize"; }
  const char* summary() const override { return "Text to token ids"; }
  const char* examples() const override {
    return "Examples:\n"
           "  octet tokenize \"Hello world\"\n"
           "  octet tokenize --chat chat.json             the prompt that a conversation becomes\n"
           "  octet tokenize --tokenizer tokenizer.model --no-bos --file notes.txt --json";
  }

  void declare(CLI::App& app) override {
    declare_text_input(app, input_, "TEXT", "the text");
    chat_option_ =
        app.add_option("--chat", chat_file_, "a conversation as a JSON array of {role, content}")->type_name("FILE");
    chat_option_->excludes(input_.text_option)->excludes(input_.file_option);
    declare_prompt_flags(app, prompt_, chat_option_);
    declare_chat_flags(app, chat_);
    declare_tokenizer_flags(app, flags_);
    app.add_flag("--no-bos", no_bos_, "leave the beginning-of-sequence token out");
    app.add_flag("--json", json_, R"(print {"ids": […], "pieces": […]})");
  }

  Status run() override {
    OCTET_ASSIGN_OR_RETURN(const std::filesystem::path path, tokenizer_path(flags_));
    OCTET_ASSIGN_OR_RETURN(const Tokenizer tokenizer, Tokenizer::open(path));
    OCTET_ASSIGN_OR_RETURN(std::vector<TokenId> ids,
                           chat_option_->count() > 0 ? encode_chat(path, tokenizer) : encode_text(tokenizer));
    if (no_bos_ && !ids.empty() && tokenizer.bos_id() == ids.front()) ids.erase(ids.begin());
    if (!json_) return print_ids(ids);
    nlohmann::ordered_json object{{"ids", ids}, {"pieces", nlohmann::ordered_json::array()}};
    for (const TokenId id : ids) object["pieces"].push_back(tokenizer.piece(id));
    return print_line(dump_json(object));
  }

 private:
  Result<std::vector<TokenId>> encode_text(const Tokenizer& tokenizer) const {
    OCTET_ASSIGN_OR_RETURN(const std::string text, read_text_input(input_));
    OCTET_RETURN_IF_ERROR(check_utf8(text, "the text"));
    return tokenizer.with_special_tokens(tokenizer.encode_prompt(text, prompt_.parse_special == "on"));
  }

  Result<std::vector<TokenId>> encode_chat(const std::filesystem::path& path, const Tokenizer& tokenizer) const {
    OCTET_ASSIGN_OR_RETURN(const std::string text, read_input_file(chat_file_));
    OCTET_ASSIGN_OR_RETURN(Conversation conversation, parse_chat_file(chat_file_, text, prompt_.continue_last));
    std::vector<ChatMessage> messages = std::move(conversation.messages);
    if (chat_.safe_prompt) messages = with_safe_prompt(std::move(messages));
    ChatFlags chat = chat_;
    // A tokenizer file alone says nothing of a template.
    std::error_code error;
    if (chat.chat_template.empty() && !std::filesystem::is_directory(path, error))
      chat.chat_template = kDefaultChatTemplate;
    OCTET_ASSIGN_OR_RETURN(const ChatTemplate format, open_chat_template(chat, path, tokenizer));
    return format.encode(messages, tokenizer, prompt_.continue_last);
  }

  static Status print_ids(const std::vector<TokenId>& ids) {
    std::string line;
    for (const TokenId id : ids) line += (line.empty() ? "" : " ") + std::to_string(id);
    return print_line(line);
  }

  TextInput input_;
  std::string chat_file_;
  CLI::Option* chat_option_ = nullptr;
  PromptFlags prompt_;
  ChatFlags chat_;
  ModelFlags flags_;
  bool no_bos_ = false;
  bool json_ = false;
};

class DetokenizeCommand final : public Command {
 public:
  const char* name() const override { return "detokenize"; }
  const char* summary() const override { return "Token ids to text"; }
  const char* examples() const override {
    return "Examples:\n"
           "  octet detokenize \"1 1162 267 3671\"\n"
           "  octet tokenize \"Hello\" | octet detokenize -\n"
           "  octet detokenize --file ids.json            a JSON array, or numbers and white space";
  }

  void declare(CLI::App& app) override {
    declare_text_input(app, input_, "IDS", "token ids");
    declare_tokenizer_flags(app, flags_);
  }

  Status run() override {
    OCTET_ASSIGN_OR_RETURN(const std::filesystem::path path, tokenizer_path(flags_));
    OCTET_ASSIGN_OR_RETURN(const Tokenizer tokenizer, Tokenizer::open(path));
    OCTET_ASSIGN_OR_RETURN(const std::string text, read_text_input(input_));
    OCTET_ASSIGN_OR_RETURN(const std::vector<TokenId> ids, parse_token_ids(text));
    for (const TokenId id : ids) {
      if (id < 0 || id >= tokenizer.vocab_size()) {
        return invalid_input("token id {} is outside of the vocabulary of {}", id, tokenizer.vocab_size());
      }
    }
    return print_line(tokenizer.decode(ids));
  }

 private:
  TextInput input_;
  ModelFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_tokenize_command() { return std::make_unique<TokenizeCommand>(); }
std::unique_ptr<Command> make_detokenize_command() { return std::make_unique<DetokenizeCommand>(); }

}  // namespace octet
