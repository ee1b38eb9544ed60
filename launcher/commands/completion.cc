// octet completion: what a shell needs to complete command lines.
#include "launcher/completion.h"

#include "launcher/commands/commands.h"
#include "launcher/output.h"

namespace octet {
namespace {

class CompletionCommand final : public Command {
 public:
  const char* name() const override { return "completion"; }
  const char* summary() const override { return "Print a script that completes command lines in a shell"; }
  const char* examples() const override {
    return "Examples:\n"
           "  source <(octet completion bash)                                 in this shell\n"
           "  octet completion bash > /etc/bash_completion.d/octet            for everyone";
  }

  void declare(CLI::App& app) override {
    app_ = &app;
    app.add_option("SHELL", shell_, "the shell: bash")->required()->check(CLI::IsMember({"bash"}));
  }

  Status run() override { return print(bash_completion(*app_->get_parent())); }

 private:
  const CLI::App* app_ = nullptr;
  std::string shell_;
};

}  // namespace

std::unique_ptr<Command> make_completion_command() { return std::make_unique<CompletionCommand>(); }

}  // namespace octet
