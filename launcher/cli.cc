#include "launcher/cli.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <sstream>
#include <string>
#include <thread>

#include "comm/comm_factory.h"
#include "launcher/command.h"
#include "launcher/config_file.h"
#include "launcher/job/job_line.h"
#include "launcher/nearest.h"
#include "launcher/output.h"
#include "runtime/base/check.h"
#include "runtime/base/log.h"
#include "runtime/base/out_of_memory.h"
#include "runtime/base/process_end.h"
#include "runtime/base/quote.h"

namespace octet {
namespace {

constexpr const char* kFooter = R"(Examples:
  octet generate "In the beginning"              text from the shipped demo model
  octet generate --model ~/Mixtral-8x7B-v0.1 "The capital of France is"
  octet inspect ~/Mixtral-8x7B-v0.1              what a checkpoint is and needs
  octet COMMAND --help                           all flags of a command, with examples

Exit codes: 0 done, 1 failed while running, 2 bad input, 3 a rank was lost or hung, 130 interrupted.)";

// What every command has.
struct CommonFlags {
  std::string config;
  LogOptions log;
};

void declare_common(CLI::App& app, CommonFlags& flags) {
  app.add_option("--config", flags.config, "TOML file with flags' names as keys; a flag given here beats it")
      ->type_name("FILE");
  app.add_option("--log-level", flags.log.level, "debug, info, warn, error or off; the log goes to stderr")
      ->type_name("LEVEL")
      ->capture_default_str();
  app.add_option("--log-format", flags.log.format,
                 "text, or json: an object a line with time, level, rank, message and fields such as request, finish "
                 "and output_tokens; octet run hands it to its ranks")
      ->type_name("FORMAT")
      ->envname(kLogFormatVariable)
      ->capture_default_str();
}

std::vector<std::string> long_flags(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

// "generate", "bench generate"; empty for the program itself.
std::string full_name(const CLI::App& app) {
  if (app.get_parent() == nullptr) return "";
  const std::string group = full_name(*app.get_parent());
  return group.empty() ? app.get_name() : group + " " + app.get_name();
}

std::vector<std::string> subcommand_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* sub : app.get_subcommands({})) names.push_back(sub->get_name());
  return names;
}

// Whether it has arguments besides its flags.
bool takes_words(const CLI::App& app) {
  const auto options = app.get_options();
  return std::ranges::any_of(options, [](const CLI::Option* option) { return option->get_positional(); });
}

constexpr const char* kFlagsOfTheCommand =
    "; flags of the command that it runs stand behind --: octet run --ranks 2 -- generate --seed 1";

// The message of a usage error, with the nearest name where something is misspelt.
std::string explain(const CLI::ParseError& error, const CLI::App& active, const std::vector<std::string>& arguments) {
  std::string message = error.what();
  if (const auto end = message.find('\n'); end != std::string::npos) message.resize(end);
  const std::vector<std::string> names = subcommand_names(active);
  const bool has_extras = dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr;
  // What is required may only be misspelt.
  const bool lacks = dynamic_cast<const CLI::RequiredError*>(&error) != nullptr;
  if (has_extras || lacks || !names.empty()) {
    for (const std::string& argument : arguments) {
      if (argument == "--") break;
      const std::string word = argument.substr(0, argument.find('='));
      const bool is_flag = word.size() > 2 && word.starts_with("--");
      if (is_flag && active.get_option_no_throw(word) == nullptr) {
        const auto guess = nearest(word, long_flags(active));
        if (guess) return fmt::format("unknown flag {}; did you mean {}?", word, *guess);
        return fmt::format("unknown flag {}{}", word, active.get_name() == "run" ? kFlagsOfTheCommand : "");
      }
      if (is_flag || names.empty() || word == active.get_name()) continue;
      const auto guess = nearest(word, names);
      return fmt::format("unknown {}command {}{}", active.get_parent() == nullptr ? "" : full_name(active) + " ", word,
                         guess ? fmt::format("; did you mean {}?", *guess) : "");
    }
  }
  const std::vector<std::string> rest = active.remaining();
  if (!has_extras || rest.empty()) return message;
  return fmt::format(
      "unexpected argument {}{}", quote(rest.front()),
      takes_words(active) && !rest.front().starts_with('-') ? "; what has spaces needs quotes around it" : "");
}

std::string process_label() { return launched_rank() == 0 ? "octet" : fmt::format("octet rank {}", launched_rank()); }

// The ranks of a job agree on what is wrong, and rank 0 tells it. A rank that ended before it would have mpirun end
// rank 0, too, perhaps with nothing said: the others stay until mpirun ends them.
void tell(const std::string& message) {
  constexpr std::chrono::seconds kTimeToTell{10};
  if (launched_rank() == 0) return log_error("{}", message);
  std::this_thread::sleep_for(kTimeToTell);
}

// What has been told already has no message here.
int fail(const Status& status) {
  if (!status.message().empty()) tell(status.message());
  return status.exit_code();
}

// What is wrong with the arguments is told in the format that they ask for, if that much is understood.
void choose_log_format(const CLI::App& active, LogOptions log) {
  log.level = LogOptions().level;
  if (const char* format = std::getenv(kLogFormatVariable)) log.format = format;
  const CLI::Option* flag = active.get_option_no_throw("--log-format");
  if (flag != nullptr && !flag->results().empty()) log.format = flag->results().back();
  [[maybe_unused]] const Status stays_if_unknown = init_log(log);
}

int usage_error(const std::string& message, const CLI::App& active) {
  tell(fmt::format("{} (see octet {}--help)", message, active.get_parent() == nullptr ? "" : full_name(active) + " "));
  return invalid_input("usage").exit_code();
}

// A descriptor that is closed would be taken by the next file that is opened, and what is meant for standard output
// would go there. A reader that goes away, and a file that may not grow, are errors of the write, not signals.
void prepare_standard_streams() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(descriptor, F_GETFD) >= 0) continue;
    // Standard output is opened for reading: to write to it is the error that it is with a closed one.
    const bool is_log = descriptor == STDERR_FILENO;
    const int stand_in = open(is_log ? "/dev/full" : "/dev/null", is_log ? O_RDWR : O_RDONLY);
    OCTET_CHECK(stand_in == descriptor, "descriptor {}", stand_in);
  }
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

// Where the command's flags are declared; its group is made with its first command.
CLI::App& add_command(CLI::App& root, const Command& command) {
  const std::string name = command.name();
  const auto space = name.find(' ');
  if (space == std::string::npos) return *root.add_subcommand(name, command.summary());
  const std::string group_name = name.substr(0, space);
  const auto names = subcommand_names(root);
  if (std::ranges::find(names, group_name) == names.end()) {
    CLI::App* group = root.add_subcommand(group_name, "Benchmarks: octet " + group_name + " --help");
    group->require_subcommand(1)->footer("");
  }
  return *root.get_subcommand(group_name)->add_subcommand(name.substr(space + 1), command.summary());
}

int run_command(CLI::App& app, Command& command, CommonFlags& common) {
  if (!common.config.empty()) {
    if (const Status status = apply_config_file(common.config, app); !status.ok()) return fail(status);
  }
  if (const Status status = init_log(common.log); !status.ok()) return fail(status);
  // For the ranks of a job.
  common.log.format == "text" ? unsetenv(kLogFormatVariable)
                              : setenv(kLogFormatVariable, common.log.format.c_str(), /*overwrite=*/1);
  const Status status = or_out_of_memory([&] { return command.run(); });
  return status.ok() ? 0 : fail(status);
}

}  // namespace

int run_cli(int argc, char** argv) {
  set_process_end(_exit);
  prepare_standard_streams();
  CommonFlags common;
  common.log.rank = launched_rank();
  common.log.label = process_label();
  OCTET_CHECK(init_log(common.log).ok());
  tell_uncaught_exceptions();
  JobLine::get().connect();
  CLI::App root{"Octet runs Mixtral-architecture language models (sparse mixture of experts).", "octet"};
  root.set_version_flag("--version", "octet " OCTET_VERSION);
  root.require_subcommand(1);
  root.footer(kFooter);
  const auto commands = make_commands();
  for (const auto& command : commands) {
    CLI::App& sub = add_command(root, *command);
    sub.footer(command->examples());
    command->declare(sub);
    declare_common(sub, common);
  }
  const auto active = [&root]() -> CLI::App& {
    CLI::App* app = &root;
    while (!app->get_subcommands().empty()) app = app->get_subcommands().front();
    return *app;
  };
  try {
    root.parse(argc, argv);
    for (const auto& command : commands) {
      if (full_name(active()) == command->name()) return run_command(active(), *command, common);
    }
  } catch (const CLI::Success& success) {  // --help, --version
    std::ostringstream text;
    root.exit(success, text, text);
    const Status status = print(text.str());
    return status.ok() ? 0 : fail(status);
  } catch (const CLI::ParseError& error) {
    choose_log_format(active(), common.log);
    return usage_error(explain(error, active(), {argv + 1, argv + argc}), active());
  }
  return 1;
}

}  // namespace octet
