// The errors of the service as gRPC carries them: a code, a line, and octet.v1.StatusDetails.
#pragma once

#include <grpcpp/support/status.h>

#include <chrono>
#include <string>

#include "runtime/base/status.h"
#include "runtime/session/call_end.h"

namespace octet {

// A status with details that repeat it.
grpc::Status rpc_error(grpc::StatusCode code, const std::string& message);
// The same, with the advice to try again after a while.
grpc::Status rpc_retry(grpc::StatusCode code, const std::string& message, std::chrono::milliseconds delay);
// INVALID_ARGUMENT naming one field of the request, its value and its bound.
grpc::Status rpc_bad_field(const std::string& field, const std::string& description);
// UNAUTHENTICATED.
grpc::Status missing_key();
grpc::Status rpc_status(const CallEnd& end);
// INTERNAL: what came cannot be parsed.
grpc::Status not_a_message();
// A code as the metrics and the log name it.
std::string failure_reason(grpc::StatusCode code);
// Of a parsed request: kInvalidInput, which names a field, is rpc_bad_field; anything else is INTERNAL.
grpc::Status rpc_status(const Status& status);

}  // namespace octet
