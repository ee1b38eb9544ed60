// octet chat: a conversation, line by line.
#include <unistd.h>

#include <iostream>

#include "launcher/client_flags.h"
#include "launcher/commands/commands.h"
#include "launcher/interrupt.h"
#include "launcher/local_generator.h"
#include "launcher/open_session.h"
#include "launcher/output.h"
#include "launcher/remote_generator.h"
#include "launcher/sampling_flags.h"
#include "launcher/text_input.h"
#include "runtime/base/log.h"

namespace octet {
namespace {

// Tokens that an answer shall have room for; older exchanges leave the context for it.
int64_t answer_room(int64_t max_context) { return std::min<int64_t>(256, max_context / 4); }

class ChatCommand final : public Command {
 public:
  const char* name() const override { return "chat"; }
  const char* summary() const override { return "A conversation with the model"; }
  const char* examples() const override {
    return "Examples:\n"
           "  octet chat --model ~/Mixtral-8x7B-Instruct-v0.1\n"
           "  octet chat --system \"Answer in verse.\" --temperature 0.5\n"
           "  printf 'Hello\\nAnd again?\\n' | octet chat       a line is a message, an answer for each\n"
           "Through pipes and files, answers are blocks of lines with a blank line between two of them.\n"
           "Ctrl-C stops an answer; at the prompt it ends the conversation, as Ctrl-D does.";
  }

  void declare(CLI::App& app) override {
    system_option_ = app.add_option("--system", system_, "what the model is told before the conversation");
    system_option_->type_name("TEXT");
    declare_chat_flags(app, chat_);
    declare_client_flags(app, client_);
    sampling_.declare(app);
    declare_generation_config(app, model_);
    declare_model_flags(app, model_);
    app_ = &app;
  }

  Status run() override {
    catch_interrupts();
    if (client_.given()) {
      OCTET_RETURN_IF_ERROR(check_client_flags(*app_, chat_));
      OCTET_ASSIGN_OR_RETURN(const auto generator, RemoteGenerator::connect(client_, model_.model, chat_.safe_prompt));
      return chat(*generator);
    }
    OCTET_ASSIGN_OR_RETURN(const auto session, open_session(model_));
    if (!session->leads()) return session->follow();
    LocalGenerator generator(*session, chat_);
    return chat(generator);
  }

 private:
  Status chat(Generator& generator) {
    OCTET_ASSIGN_OR_RETURN(params_, sampling_.params(generator.defaults()));
    if (params_.num_samples != 1) return invalid_input("--num-samples {}: a chat has one answer", params_.num_samples);
    if (system_option_->count() > 0) messages_.push_back({"system", system_});
    num_kept_ = messages_.size();
    OCTET_RETURN_IF_ERROR(check_standard_input());
    OCTET_RETURN_IF_ERROR(try_out(generator));
    OCTET_RETURN_IF_ERROR(generator.load());
    for (std::string line; read_line(line);) {
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      const Status status = converse(generator, line);
      if (!interactive_ || status.code() != StatusCode::kInvalidInput) OCTET_RETURN_IF_ERROR(status);
      if (!status.ok()) log_error("{}", status.message());
    }
    if (interactive_) write_to_terminal("\n");
    return interactive_ && take_interrupt() ? ok_status() : check_interrupted();
  }

  // Everything that can be wrong before the first message.
  Status try_out(Generator& generator) const {
    auto messages = messages_;
    messages.push_back({"user", "?"});
    OCTET_ASSIGN_OR_RETURN(PreparedPrompt prompt, generator.prepare(std::move(messages)));
    return generator.check(prompt, params_);
  }

  // False at the end of the input, and when an interrupt comes instead of a line.
  bool read_line(std::string& line) const {
    if (interactive_) write_to_terminal("> ");
    if (!check_interrupted().ok() || !std::getline(std::cin, line)) return false;
    if (line.ends_with('\r')) line.pop_back();  // of a file with CRLF
    return true;
  }

  // One message and its answer; without an answer, the message leaves the conversation again.
  Status converse(Generator& generator, const std::string& line) {
    messages_.push_back({"user", line});
    std::string answer;
    auto prompt = prepare_with_room(generator);
    Status status = prompt.ok() ? stream_answer(generator, *std::move(prompt), answer) : prompt.status();
    if (answer.empty()) {  // formats have no place for an empty answer
      messages_.pop_back();
    } else {
      messages_.push_back({"assistant", answer});
    }
    return status;
  }

  // The conversation as a prompt; without its oldest exchanges where they leave no room for an answer.
  Result<PreparedPrompt> prepare_with_room(Generator& generator) {
    const int64_t max_context = generator.max_context();
    while (true) {
      OCTET_ASSIGN_OR_RETURN(PreparedPrompt prompt, generator.prepare(messages_));
      const bool has_room = prompt.num_tokens + answer_room(max_context) <= max_context;
      if (has_room || messages_.size() < num_kept_ + 3) return prompt;
      log_warning("the oldest message and its answer leave the context of {} tokens", max_context);
      const auto oldest = messages_.begin() + static_cast<std::ptrdiff_t>(num_kept_);
      messages_.erase(oldest, oldest + 2);
    }
  }

  Status stream_answer(Generator& generator, PreparedPrompt prompt, std::string& answer) {
    Status output_status = num_answers_++ > 0 && separates_ ? print("\n") : ok_status();
    GenerationHooks hooks;
    hooks.on_text = [&](int64_t, const std::string& text) {
      if (output_status.ok()) output_status = print(text);
    };
    bool stopped = false;
    hooks.should_stop = [&] {
      stopped = stopped || (interactive_ && take_interrupt());
      if (output_status.ok()) output_status = check_interrupted();
      return stopped || !output_status.ok();
    };
    GenerationResult result;
    Status status = generator.generate(std::move(prompt), params_, hooks, result);
    if (!result.outputs.empty()) {
      answer = result.outputs.front().text;
      if (status.ok()) status = result.outputs.front().status;
      const Status ended = print("\n");
      if (output_status.ok()) output_status = ended;
    }
    return output_status.ok() ? status : output_status;
  }

  std::string system_;
  CLI::Option* system_option_ = nullptr;
  ChatFlags chat_;
  SamplingFlags sampling_;
  ClientFlags client_;
  ModelFlags model_;
  const CLI::App* app_ = nullptr;
  GenerationParams params_;
  std::vector<ChatMessage> messages_;
  size_t num_kept_ = 0;  // messages in front that never leave
  int64_t num_answers_ = 0;
  bool interactive_ = isatty(STDIN_FILENO) != 0;
  bool separates_ =
      !interactive_ || !output_is_terminal();  // at a terminal the next message stands between two answers
};

}  // namespace

std::unique_ptr<Command> make_chat_command() { return std::make_unique<ChatCommand>(); }

}  // namespace octet
