// Makers of the subcommands, one file each.
#pragma once

#include <memory>
#include <vector>

#include "launcher/command.h"

namespace octet {

std::unique_ptr<Command> make_generate_command();
std::unique_ptr<Command> make_chat_command();
std::unique_ptr<Command> make_logits_command();
std::unique_ptr<Command> make_perplexity_command();
std::unique_ptr<Command> make_serve_command();
std::unique_ptr<Command> make_api_key_command();
std::unique_ptr<Command> make_tokenize_command();
std::unique_ptr<Command> make_detokenize_command();
std::unique_ptr<Command> make_inspect_command();
std::vector<std::unique_ptr<Command>> make_bench_commands();
std::unique_ptr<Command> make_bench_scaling_command();
std::unique_ptr<Command> make_bench_exchange_command();
std::unique_ptr<Command> make_bench_roofline_command();
std::unique_ptr<Command> make_bench_serve_command();
std::unique_ptr<Command> make_completion_command();
std::unique_ptr<Command> make_run_command();
std::unique_ptr<Command> make_plan_command();
std::unique_ptr<Command> make_doctor_command();

}  // namespace octet
