// Any bytes for a file of keys are refused with one line that names the file, or are keys that a service can tell
// apart, whose policies are within their bounds.
#include <cstddef>
#include <cstdint>
#include <set>

#include "launcher/api_keys_file.h"
#include "runtime/base/check.h"
#include "runtime/engine/request.h"

namespace {

void check(const octet::TenantPolicy& policy) {
  OCTET_CHECK(octet::check_tenant_name(policy.name).ok());
  OCTET_CHECK(policy.max_priority >= -octet::kMaxPriority && policy.max_priority <= octet::kMaxPriority);
  for (const auto& limit : {policy.requests_per_minute, policy.tokens_per_minute, policy.concurrency}) {
    OCTET_CHECK(!limit || *limit > 0);
  }
  const auto again = octet::parse_api_keys(octet::api_key_entry(policy.name, policy.key_sha256), "again");
  OCTET_CHECK(again.ok() && again->size() == 1 && again->front().key_sha256 == policy.key_sha256);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto policies = octet::parse_api_keys({reinterpret_cast<const char*>(data), size}, "file");
  if (!policies.ok()) {
    const octet::Status status = policies.status();
    const std::string& message = status.message();
    OCTET_CHECK(status.code() == octet::StatusCode::kInvalidInput);
    OCTET_CHECK(message.starts_with("file:") && message.find('\n') == std::string::npos, "{}", message);
    return 0;
  }
  std::set<std::string> names;
  std::set<octet::Sha256> keys;
  for (const octet::TenantPolicy& policy : *policies) {
    check(policy);
    OCTET_CHECK(names.insert(policy.name).second && keys.insert(policy.key_sha256).second);
  }
  return 0;
}
