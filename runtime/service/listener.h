// The parts of a gRPC server that depend on its flags: credentials, limits, addresses.
#pragma once

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <memory>
#include <span>

#include "runtime/base/address.h"
#include "runtime/base/status.h"
#include "runtime/service/server.h"

namespace octet {

struct Listener {
  std::shared_ptr<grpc::ServerCredentials> credentials;  // which the server asks as long as it is there
  std::unique_ptr<grpc::Server> server;
  Address address;  // with the port that was chosen
};

// Listens with these services, which outlive it. kInvalidInput, one line, where that fails.
Result<Listener> listen(const ServerOptions& options, std::span<grpc::Service* const> services);

}  // namespace octet
