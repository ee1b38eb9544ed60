// The file of --api-keys: who may call a service, and how much of it each may have.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/service/tenants.h"

namespace octet {

// TOML: one table [[key]] for each key, with a name, the key's SHA-256 and what it may do. kInvalidInput, one line with
// `path` and the line in it, where something is wrong.
Result<std::vector<TenantPolicy>> parse_api_keys(std::string_view text, const std::string& path);

// The file's, which nobody but its owner may write.
Result<std::vector<TenantPolicy>> read_api_keys(const std::filesystem::path& path);

// A table for a key: what parse_api_keys() takes, with the keys that a user may want to set as comments.
std::string api_key_entry(const std::string& name, const Sha256& key_sha256);

// kInvalidInput where a key cannot be called so.
Status check_tenant_name(const std::string& name);

}  // namespace octet
