// How a service and its clients show who they are: TLS, from files of the flags.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "runtime/base/status.h"
#include "runtime/service/server.h"

namespace octet {

// What the service shows its clients: a certificate, or nothing where no flag names one. Files that change are read
// again. The credentials outlive the server. kInvalidInput, naming the flag or the file.
Result<std::shared_ptr<grpc::ServerCredentials>> make_credentials(const ServerOptions& options);

}  // namespace octet
