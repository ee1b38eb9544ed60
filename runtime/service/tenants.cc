#include "runtime/service/tenants.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "runtime/engine/request.h"
#include "runtime/service/api_key.h"

namespace octet {
namespace {

using std::chrono::milliseconds;

constexpr double kSecondsOfMinute = 60;

}  // namespace

void RateLimit::set(std::optional<int64_t> per_minute, Clock::time_point now) {
  if (per_minute_) fill(now);
  const double spent = per_minute_ ? static_cast<double>(*per_minute_) - left_ : 0;
  per_minute_ = per_minute;
  left_ = per_minute ? static_cast<double>(*per_minute) - spent : 0;
  filled_ = now;
}

void RateLimit::fill(Clock::time_point now) {
  const auto most = static_cast<double>(*per_minute_);
  const double seconds = std::max(0.0, std::chrono::duration<double>(now - filled_).count());
  left_ = std::min(most, left_ + seconds * most / kSecondsOfMinute);
  filled_ = std::max(filled_, now);
}

milliseconds RateLimit::wait(Clock::time_point now) {
  if (!per_minute_) return milliseconds(0);
  fill(now);
  const double missing = 1 - left_;
  if (missing <= 0) return milliseconds(0);
  const double seconds = missing * kSecondsOfMinute / static_cast<double>(*per_minute_);
  return milliseconds(static_cast<int64_t>(std::ceil(seconds * 1000)));
}

void RateLimit::spend(double amount, Clock::time_point now) {
  if (!per_minute_) return;
  fill(now);
  left_ -= amount;
}

TenantPolicy Tenant::policy() const {
  const std::lock_guard lock(mutex_);
  return policy_;
}

void Tenant::set_policy(const TenantPolicy& policy) {
  const std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  policy_ = policy;
  requests_.set(policy.requests_per_minute, now);
  tokens_.set(policy.tokens_per_minute, now);
}

std::optional<RateRefusal> Tenant::take_request(Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  const auto refusal = [](const char* what, int64_t limit, milliseconds wait) {
    return RateRefusal{what, fmt::format("this key's {} {} a minute are used up", limit, what), wait};
  };
  if (const auto wait = requests_.wait(now); wait.count() > 0) {
    return refusal("requests", *policy_.requests_per_minute, wait);
  }
  if (const auto wait = tokens_.wait(now); wait.count() > 0) {
    return refusal("tokens", *policy_.tokens_per_minute, wait);
  }
  requests_.spend(1, now);
  return std::nullopt;
}

void Tenant::spend_tokens(int64_t count, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  tokens_.spend(static_cast<double>(count), now);
}

bool Caller::may_abort_call_of(const Caller& owner) const {
  const TenantPolicy policy = tenant->policy();
  if (policy.may_abort) return true;
  if (tenant != owner.tenant) return false;
  return !policy.name.empty() || peer == owner.peer;
}

// The first line tells whose the rest is, so that nobody's text can be another's.
std::string cache_salt_text(const TenantPolicy& policy, const std::string& request_salt) {
  if (policy.own_cache) return "tenant " + policy.name + "\n" + request_salt;
  return request_salt.empty() ? "" : "anyone\n" + request_salt;
}

Tenants::Tenants() : anyone_(std::make_shared<Tenant>(TenantPolicy{.own_cache = false})) {}

Tenants::Tenants(std::string_view key) {
  TenantPolicy all_rights{.key_sha256 = sha256(key), .max_priority = kMaxPriority, .may_abort = true};
  all_rights.own_cache = false;
  set({all_rights});
}

Tenants::Tenants(const std::vector<TenantPolicy>& policies) { set(policies); }

void Tenants::set(const std::vector<TenantPolicy>& policies) {
  const std::lock_guard lock(mutex_);
  std::map<std::string, std::shared_ptr<Tenant>> known;
  for (const auto& [key, tenant] : by_key_) known.emplace(tenant->policy().name, tenant);
  by_key_.clear();
  for (const TenantPolicy& policy : policies) {
    auto& tenant = known[policy.name];
    if (tenant == nullptr) {
      tenant = std::make_shared<Tenant>(policy);
    } else {
      tenant->set_policy(policy);
    }
    by_key_.emplace_back(policy.key_sha256, tenant);
  }
}

std::shared_ptr<Tenant> Tenants::identify(std::string_view key) const {
  const std::lock_guard lock(mutex_);
  if (anyone_ != nullptr) return anyone_;
  if (key.empty()) return nullptr;
  const Sha256 hash = sha256(key);
  std::shared_ptr<Tenant> found;
  for (const auto& [known, tenant] : by_key_) {  // to the end, whoever it is
    if (equal_in_constant_time(known, hash)) found = tenant;
  }
  return found;
}

}  // namespace octet
