#include "runtime/service/call_registry.h"

#include <fmt/format.h>

namespace octet {
namespace {

constexpr std::chrono::milliseconds kRetryDelay{500};

CallEnd exhausted(std::string message) {
  return {.code = CallEndCode::kExhausted, .message = std::move(message), .retry = kRetryDelay};
}

}  // namespace

CallEnd CallRegistry::add(const std::shared_ptr<GenerationCall>& call) {
  const TenantPolicy policy = call->caller().tenant->policy();
  const std::lock_guard lock(mutex_);
  if (!closed_.ok()) return closed_;
  const Key key(policy.name, call->request_id());
  if (live_.contains(key)) {
    return {.code = CallEndCode::kAlreadyExists, .message = "request_id: a request with this id is in flight"};
  }
  if (std::ssize(live_) >= max_calls_) {
    return exhausted(fmt::format("the queue is full: {} requests are in flight", live_.size()));
  }
  if (policy.concurrency && num_live_of_[policy.name] >= *policy.concurrency) {
    return exhausted(
        fmt::format("{} requests of this key are in flight, the most that it may have", *policy.concurrency));
  }
  live_.emplace(key, call);
  ++num_live_of_[policy.name];
  return {};
}

void CallRegistry::remove(const GenerationCall& call) {
  const std::string tenant = call.caller().tenant->policy().name;
  const std::lock_guard lock(mutex_);
  if (live_.erase({tenant, call.request_id()}) == 0) return;
  if (--num_live_of_[tenant] == 0) num_live_of_.erase(tenant);
}

std::vector<std::shared_ptr<GenerationCall>> CallRegistry::find(const Caller& caller,
                                                                const std::string& request_id) const {
  std::vector<std::shared_ptr<GenerationCall>> found;
  const std::lock_guard lock(mutex_);
  for (const auto& [key, call] : live_) {
    if (key.second == request_id && caller.may_abort_call_of(call->caller())) found.push_back(call);
  }
  return found;
}

int64_t CallRegistry::num_live() const {
  const std::lock_guard lock(mutex_);
  return std::ssize(live_);
}

void CallRegistry::close(const CallEnd& why) {
  const std::lock_guard lock(mutex_);
  closed_ = why;
}

void CallRegistry::end_all(const CallEnd& end) {
  std::vector<std::shared_ptr<GenerationCall>> calls;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, call] : live_) calls.push_back(call);
  }
  for (const auto& call : calls) call->end(end);
}

}  // namespace octet
