// A subcommand of `octet`: declares its flags, then runs.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <vector>

#include "runtime/base/status.h"

namespace octet {

// An environment variable with --log-format's default: octet run tells its ranks so.
inline constexpr const char* kLogFormatVariable = "OCTET_LOG_FORMAT";

class Command {
 public:
  virtual ~Command() = default;
  virtual const char* name() const = 0;      // "logits"; "bench generate" is the subcommand of a group
  virtual const char* summary() const = 0;   // one line of `octet --help`
  virtual const char* examples() const = 0;  // the end of `octet NAME --help`
  virtual void declare(CLI::App& app) = 0;
  virtual Status run() = 0;
};

// All of them, in the order of the help text.
std::vector<std::unique_ptr<Command>> make_commands();

}  // namespace octet
