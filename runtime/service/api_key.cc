#include "runtime/service/api_key.h"

#include "runtime/base/secret_file.h"
#include "runtime/base/sha256.h"

namespace octet {
namespace {

constexpr std::string_view kScheme = "Bearer ";

}  // namespace

Result<std::string> read_api_key(const std::filesystem::path& path) {
  OCTET_ASSIGN_OR_RETURN(std::string key, read_secret_file(path, 1 << 12));
  key.resize(std::min(key.size(), key.find_first_of("\r\n")));
  if (key.empty()) return invalid_input("{}: the first line, which is the key, is empty", path.string());
  return key;
}

std::string_view bearer_token(std::string_view authorization) {
  return authorization.starts_with(kScheme) ? authorization.substr(kScheme.size()) : std::string_view();
}

bool shows_api_key(std::string_view authorization, std::string_view key) {
  return key.empty() || equal_in_constant_time(sha256(bearer_token(authorization)), sha256(key));
}

}  // namespace octet
