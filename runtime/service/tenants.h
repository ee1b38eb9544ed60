// Tenants: who may call, and how much of the service each may have.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/sha256.h"

namespace octet {

// What the holder of a key may do.
struct TenantPolicy {
  std::string name = {};     // in logs and metrics; empty: whoever calls, where there are no names
  Sha256 key_sha256 = {};    // of the key; unused where none is asked for
  int32_t max_priority = 0;  // of its requests
  bool may_abort = false;    // the calls of others, too
  bool own_cache = true;     // no other tenant can tell from cached prefixes what it asked
  std::optional<int64_t> requests_per_minute = {};  // unset: no limit; Generate, GenerateStream, Tokenize, Detokenize
  std::optional<int64_t> tokens_per_minute = {};    // of prompts and outputs
  std::optional<int64_t> concurrency = {};          // generating calls under way
};

// A budget of so much a minute: a minute's worth may go at once, and it fills steadily. What was spent without asking
// leaves a debt. Not thread-safe.
class RateLimit {
 public:
  using Clock = std::chrono::steady_clock;

  // Keeps what was spent. Unset: no limit.
  void set(std::optional<int64_t> per_minute, Clock::time_point now);
  // Until there is one to spend; 0: there is.
  std::chrono::milliseconds wait(Clock::time_point now);
  void spend(double amount, Clock::time_point now);

 private:
  void fill(Clock::time_point now);

  std::optional<int64_t> per_minute_;
  double left_ = 0;
  Clock::time_point filled_;
};

// Why a tenant may not have more now, and when it may.
struct RateRefusal {
  std::string reason;  // "requests", "tokens"
  std::string message;
  std::chrono::milliseconds retry;
};

// One of them. Thread-safe.
class Tenant {
 public:
  using Clock = RateLimit::Clock;

  explicit Tenant(const TenantPolicy& policy) { set_policy(policy); }

  TenantPolicy policy() const;
  void set_policy(const TenantPolicy& policy);

  // Counts a request, unless the budgets of requests or tokens are used up.
  std::optional<RateRefusal> take_request(Clock::time_point now = Clock::now());
  // Counts tokens of a request that was taken.
  void spend_tokens(int64_t count, Clock::time_point now = Clock::now());

 private:
  mutable std::mutex mutex_;  // guards what follows
  TenantPolicy policy_;
  RateLimit requests_, tokens_;
};

// Who calls: a tenant, over one connection.
struct Caller {
  std::shared_ptr<Tenant> tenant = std::make_shared<Tenant>(TenantPolicy{});
  std::string peer = {};  // the connection's other end as gRPC names it

  // Whether a call of `owner` is this caller's to end. Callers without names are told apart by their connections.
  bool may_abort_call_of(const Caller& owner) const;
};

// The text that parts the prefix cache for a request of a tenant; empty: shared with whoever has none.
std::string cache_salt_text(const TenantPolicy& policy, const std::string& request_salt);

// All of them. Thread-safe.
class Tenants {
 public:
  // Whoever calls is the same one.
  Tenants();
  // The one key, "authorization: Bearer KEY", opens everything.
  explicit Tenants(std::string_view key);
  // Each with a key of its own.
  explicit Tenants(const std::vector<TenantPolicy>& policies);

  // These from now on. Who was there before, by name, has spent what it has spent; who is not there any more is
  // unknown, and its calls go on.
  void set(const std::vector<TenantPolicy>& policies);

  // Whose key it is (bearer_token). Null: it is missing or wrong. The time does not tell how much of it is right.
  std::shared_ptr<Tenant> identify(std::string_view key) const;

 private:
  mutable std::mutex mutex_;  // guards what follows
  std::shared_ptr<Tenant> anyone_;
  std::vector<std::pair<Sha256, std::shared_ptr<Tenant>>> by_key_;
};

}  // namespace octet
