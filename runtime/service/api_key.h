// The bearer token that a service may ask for.
#pragma once

#include <grpcpp/server_context.h>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/base/status.h"

namespace octet {

// The key in a file: its first line. kInvalidInput, with the path, where there is none, or where others can read it.
Result<std::string> read_api_key(const std::filesystem::path& path);

// The KEY of the call's "authorization: Bearer KEY", as long as the call is there; none where it carries none.
std::optional<std::string_view> bearer_token(const grpc::CallbackServerContext& context);

}  // namespace octet
