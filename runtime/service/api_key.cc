#include "runtime/service/api_key.h"

#include "runtime/service/secret_file.h"

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

std::optional<std::string_view> bearer_token(const grpc::CallbackServerContext& context) {
  const auto found = context.client_metadata().find("authorization");
  if (found == context.client_metadata().end()) return std::nullopt;
  const std::string_view given(found->second.data(), found->second.size());
  if (!given.starts_with(kScheme)) return std::nullopt;
  return given.substr(kScheme.size());
}

}  // namespace octet
