#include "runtime/service/api_key.h"

#include "runtime/model/text_file.h"

namespace octet {
namespace {

constexpr std::string_view kScheme = "Bearer ";

bool equal_in_constant_time(std::string_view given, std::string_view key) {
  unsigned difference = given.size() == key.size() ? 0 : 1;
  for (size_t i = 0; i < given.size(); ++i) {
    difference |= static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(key[i % key.size()]);
  }
  return difference == 0;
}

}  // namespace

Result<std::string> read_api_key(const std::filesystem::path& path) {
  OCTET_ASSIGN_OR_RETURN(std::string key, read_text_file(path, 1 << 12));
  key.resize(std::min(key.size(), key.find_first_of("\r\n")));
  if (key.empty()) return invalid_input("{}: the first line, which is the key, is empty", path.string());
  return key;
}

bool shows_api_key(std::string_view authorization, std::string_view key) {
  if (key.empty()) return true;
  return authorization.starts_with(kScheme) && equal_in_constant_time(authorization.substr(kScheme.size()), key);
}

bool has_api_key(const grpc::CallbackServerContext& context, std::string_view key) {
  const auto found = context.client_metadata().find("authorization");
  if (found == context.client_metadata().end()) return key.empty();
  return shows_api_key({found->second.data(), found->second.size()}, key);
}

}  // namespace octet
