// The flags of commands that ask a service.
#pragma once

#include <CLI/CLI.hpp>

#include "launcher/model_flags.h"
#include "launcher/prompt_builder.h"
#include "runtime/base/status.h"
#include "runtime/service/client/client.h"

namespace octet {

struct ClientFlags {
  ClientOptions client;
  // An output that is cut off because the service went away goes on when it is back within so many seconds.
  int resume_within = 60;
  bool given() const { return !client.server.empty(); }
};

// --server and how to reach it.
void declare_connection_flags(CLI::App& app, ClientOptions& options);
// The same, and --resume-within.
void declare_client_flags(CLI::App& app, ClientFlags& flags);
// kInvalidInput naming a flag that was given beside --server and is the service's to choose; or in a job of several
// ranks.
Status check_client_flags(const CLI::App& app, const ChatFlags& chat);

}  // namespace octet
