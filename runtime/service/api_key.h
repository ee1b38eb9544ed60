// The bearer token that a service may ask for.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "runtime/base/status.h"

namespace octet {

// The key in a file: its first line. kInvalidInput, with the path, where there is none, or where others can read it.
Result<std::string> read_api_key(const std::filesystem::path& path);

// The KEY of "Bearer KEY", the value of the metadata "authorization", as long as that is there; empty: there is none.
std::string_view bearer_token(std::string_view authorization);
// Whether such a value has the key; always where `key` is empty. The time does not tell how much of a wrong key is
// right.
bool shows_api_key(std::string_view authorization, std::string_view key);

}  // namespace octet
