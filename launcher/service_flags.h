// The flags of a service: addresses, who may call, and limits.
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <string>

#include "runtime/service/grpc/server.h"

namespace octet {

struct ServiceFlags {
  ServerOptions server;
  std::string api_keys_file;                       // whose entries are server.tenants, once they are read
  std::chrono::milliseconds drain_limit{300'000};  // for streams under way to finish, once the service was told to end
};

void declare_service_flags(CLI::App& app, ServiceFlags& flags);

}  // namespace octet
