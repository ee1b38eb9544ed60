// The bearer token that a service may ask for.
#pragma once

#include <grpcpp/server_context.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "runtime/base/status.h"

namespace octet {

// The key in a file: its first line. kInvalidInput, with the path, where there is none.
Result<std::string> read_api_key(const std::filesystem::path& path);

// Whether "Bearer KEY", the value of the metadata "authorization", has the key; always where `key` is empty. The time
// does not tell how much of a wrong key is right.
bool shows_api_key(std::string_view authorization, std::string_view key);
// Whether the call carries "authorization: Bearer KEY"; always where `key` is empty.
bool has_api_key(const grpc::CallbackServerContext& context, std::string_view key);

}  // namespace octet
