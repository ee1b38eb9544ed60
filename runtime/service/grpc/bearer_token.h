// The bearer token of a call.
#pragma once

#include <grpcpp/server_context.h>

#include <string_view>

namespace octet {

// As bearer_token of the call's metadata "authorization".
std::string_view bearer_token(const grpc::CallbackServerContext& context);

}  // namespace octet
