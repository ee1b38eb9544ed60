#include "launcher/api_keys_file.h"

#include <algorithm>
#include <charconv>

#include "launcher/toml_table.h"
#include "runtime/base/quote.h"
#include "runtime/base/read_file.h"
#include "runtime/base/secret_file.h"
#include "runtime/engine/request.h"

namespace octet {
namespace {

constexpr int64_t kMaxFileBytes = 1 << 20;
constexpr size_t kMaxKeys = 1000;  // every call's key is compared with all of them
constexpr size_t kMaxNameBytes = 64;
constexpr int kMaxRate = 1'000'000'000;

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes && std::ranges::all_of(name, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '-' ||
           c == '_';
  });
}

std::optional<Sha256> from_hex(std::string_view text) {
  Sha256 hash{};
  if (text.size() != 2 * hash.size()) return std::nullopt;
  for (size_t i = 0; i < hash.size(); ++i) {
    const char* begin = text.data() + 2 * i;
    const auto [end, error] = std::from_chars(begin, begin + 2, hash[i], 16);
    if (error != std::errc() || end != begin + 2) return std::nullopt;
  }
  return hash;
}

// A limit that stands in the table, if it does.
std::optional<int64_t> read_limit(TableReader& reader, const char* key) {
  int value = 0;
  reader.integer(key, value, 1, kMaxRate);
  return value == 0 ? std::nullopt : std::optional<int64_t>(value);
}

Result<TenantPolicy> read_key(const toml::node& node, const std::string& path) {
  const auto line = node.source().begin.line;
  if (!node.is_table()) return invalid_input("{}:{}: key: a table [[key]] for each key is expected", path, line);
  TenantPolicy policy;
  std::string hash;
  TableReader reader(*node.as_table(), path);
  reader.text("name", policy.name);
  reader.text("sha256", hash);
  reader.integer("max_priority", policy.max_priority, -kMaxPriority, kMaxPriority);
  policy.requests_per_minute = read_limit(reader, "requests_per_minute");
  policy.tokens_per_minute = read_limit(reader, "tokens_per_minute");
  policy.concurrency = read_limit(reader, "concurrency");
  reader.boolean("may_abort", policy.may_abort);
  reader.boolean("own_cache", policy.own_cache);
  OCTET_RETURN_IF_ERROR(reader.finish());
  if (const Status status = check_tenant_name(policy.name); !status.ok()) {
    return invalid_input("{}:{}: name: {}", path, line, status.message());
  }
  const auto parsed = from_hex(hash);
  if (!parsed) {
    return invalid_input(
        "{}:{}: sha256: the 64 hexadecimal digits of a key's SHA-256 are expected (octet api-key NAME "
        "makes a key and its entry)",
        path, line);
  }
  policy.key_sha256 = *parsed;
  return policy;
}

// Wants that no two entries are one key or one name.
Status add_key(const TenantPolicy& policy, const std::string& path, int64_t line, std::vector<TenantPolicy>& policies) {
  for (const TenantPolicy& other : policies) {
    if (other.name == policy.name) return invalid_input("{}:{}: name: {} stands here twice", path, line, policy.name);
    if (other.key_sha256 != policy.key_sha256) continue;
    return invalid_input("{}:{}: sha256: {} and {} have the same key", path, line, other.name, policy.name);
  }
  policies.push_back(policy);
  return ok_status();
}

}  // namespace

Status check_tenant_name(const std::string& name) {
  if (is_name(name)) return ok_status();
  return invalid_input("{} is not 1 to {} letters, digits, '.', '-' and '_'", quote(name), kMaxNameBytes);
}

Result<std::vector<TenantPolicy>> parse_api_keys(std::string_view text, const std::string& path) {
  toml::table table;
  try {
    table = toml::parse(text);
  } catch (const toml::parse_error& error) {
    return toml_error(path, error);
  }
  TableReader reader(table, path);
  const toml::array* keys = reader.list("key");
  OCTET_RETURN_IF_ERROR(reader.finish());
  if (keys == nullptr || keys->empty()) {
    return invalid_input("{}: has no [[key]], and nobody could call (octet api-key NAME makes a key and its entry)",
                         path);
  }
  if (keys->size() > kMaxKeys) return invalid_input("{}: {} keys are more than {}", path, keys->size(), kMaxKeys);
  std::vector<TenantPolicy> policies;
  for (const toml::node& node : *keys) {
    OCTET_ASSIGN_OR_RETURN(const TenantPolicy policy, read_key(node, path));
    OCTET_RETURN_IF_ERROR(add_key(policy, path, node.source().begin.line, policies));
  }
  return policies;
}

Result<std::vector<TenantPolicy>> read_api_keys(const std::filesystem::path& path) {
  OCTET_RETURN_IF_ERROR(check_written_by_owner_alone(path));
  OCTET_ASSIGN_OR_RETURN(const std::string text, read_text_file(path, kMaxFileBytes));
  return parse_api_keys(text, path.string());
}

std::string api_key_entry(const std::string& name, const Sha256& key_sha256) {
  return fmt::format(
      "[[key]]\n"
      "name = \"{}\"\n"
      "sha256 = \"{}\"\n"
      "# max_priority = 0           # of its requests, to 100\n"
      "# requests_per_minute = 600  # unset: no limit\n"
      "# tokens_per_minute = 60000  # of prompts and outputs; unset: no limit\n"
      "# concurrency = 16           # requests in flight; unset: no limit but --max-queue\n"
      "# may_abort = false          # the requests of other keys, too\n"
      "# own_cache = true           # false: share cached prefixes with the other keys that say so\n",
      name, to_hex(key_sha256));
}

}  // namespace octet
