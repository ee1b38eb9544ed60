// The flags of a service: addresses, who may call, and limits.
#pragma once

#include <CLI/CLI.hpp>

#include "runtime/service/server.h"

namespace octet {

void declare_service_flags(CLI::App& app, ServerOptions& options);

}  // namespace octet
