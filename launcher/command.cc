#include "launcher/command.h"

#include "launcher/commands/commands.h"

namespace octet {

std::vector<std::unique_ptr<Command>> make_commands() {
  std::vector<std::unique_ptr<Command>> commands;
  commands.push_back(make_generate_command());
  commands.push_back(make_chat_command());
  commands.push_back(make_serve_command());
  commands.push_back(make_api_key_command());
  commands.push_back(make_logits_command());
  commands.push_back(make_perplexity_command());
  commands.push_back(make_tokenize_command());
  commands.push_back(make_detokenize_command());
  commands.push_back(make_inspect_command());
  for (auto& command : make_bench_commands()) commands.push_back(std::move(command));
  commands.push_back(make_completion_command());
  commands.push_back(make_run_command());
  commands.push_back(make_plan_command());
  commands.push_back(make_doctor_command());
  return commands;
}

}  // namespace octet
