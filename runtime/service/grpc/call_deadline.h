// When a client stops waiting.
#pragma once

#include <grpcpp/server_context.h>

#include <chrono>

namespace octet {

// Of a call, on a clock that nobody sets; max(): it waits for ever, or for years.
std::chrono::steady_clock::time_point call_deadline(const grpc::CallbackServerContext& context);

}  // namespace octet
