#include "runtime/service/call_registry.h"

#include "runtime/service/rpc_status.h"

namespace octet {
namespace {

constexpr std::chrono::milliseconds kRetryDelay{500};

}  // namespace

grpc::Status CallRegistry::add(const std::shared_ptr<GenerationCall>& call) {
  const std::lock_guard lock(mutex_);
  if (!closed_.ok()) return closed_;
  if (live_.contains(call->request_id())) {
    return rpc_error(grpc::StatusCode::ALREADY_EXISTS, "request_id: a request with this id is in flight");
  }
  if (std::ssize(live_) >= max_calls_) {
    return rpc_retry(grpc::StatusCode::RESOURCE_EXHAUSTED,
                     fmt::format("the queue is full: {} requests are in flight", live_.size()), kRetryDelay);
  }
  live_.emplace(call->request_id(), call);
  return grpc::Status::OK;
}

void CallRegistry::remove(const GenerationCall& call) {
  const std::lock_guard lock(mutex_);
  live_.erase(call.request_id());
}

std::shared_ptr<GenerationCall> CallRegistry::find(const std::string& request_id) const {
  const std::lock_guard lock(mutex_);
  const auto it = live_.find(request_id);
  return it == live_.end() ? nullptr : it->second;
}

int64_t CallRegistry::num_live() const {
  const std::lock_guard lock(mutex_);
  return std::ssize(live_);
}

void CallRegistry::close(const grpc::Status& why) {
  const std::lock_guard lock(mutex_);
  closed_ = why;
}

void CallRegistry::end_all(const grpc::Status& status) {
  std::vector<std::shared_ptr<GenerationCall>> calls;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, call] : live_) calls.push_back(call);
  }
  for (const auto& call : calls) call->end(status);
}

}  // namespace octet
