#include "runtime/service/grpc/health_service.h"

#include <utility>
#include <vector>

#include "runtime/service/grpc/rpc_status.h"
#include "runtime/service/octet.grpc.pb.h"

namespace octet {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

namespace {

bool is_known(const std::string& service) { return service.empty() || service == v1::Generation::service_full_name(); }

}  // namespace

// One client's Watch. Tells one status after the other: what changed while one was on its way comes next. Deletes
// itself. What comes next is chosen under the service's mutex and done without it, for the library may answer at once.
class HealthWatch final : public grpc::ServerWriteReactor<HealthCheckResponse> {
 public:
  HealthWatch(HealthService& service, std::string peer, bool known)
      : service_(service), peer_(std::move(peer)), known_(known) {}

  // Whether there is room for one more; under the service's mutex.
  bool join() {
    size_t& count = service_.watches_of_[peer_];
    if (service_.watches_.size() >= HealthService::kMaxWatches || count >= HealthService::kMaxWatchesOfConnection) {
      if (count == 0) service_.watches_of_.erase(peer_);
      return false;
    }
    ++count;
    service_.watches_.insert(this);
    return true;
  }
  // Whether send() is to be called, once the mutex is free: nothing is on its way, and something has changed.
  bool choose() {
    const auto status = known_ ? service_.status() : HealthCheckResponse::SERVICE_UNKNOWN;
    if (writing_ || finished_ || status == told_) return false;
    told_ = status;
    response_.set_status(status);
    writing_ = true;
    return true;
  }
  void send() { StartWrite(&response_); }
  // Instead of joining.
  void refuse() {
    {
      const std::lock_guard lock(service_.mutex_);
      finished_ = true;
    }
    Finish(rpc_error(grpc::StatusCode::RESOURCE_EXHAUSTED, "there are too many watches; Check answers"));
  }

  void OnWriteDone(bool ok) override {
    bool sends = false, ends = false;
    {
      const std::lock_guard lock(service_.mutex_);
      writing_ = false;
      if (ok && !cancelled_) {
        sends = choose();
      } else {
        ends = !std::exchange(finished_, true);
      }
    }
    if (sends) send();
    if (ends) Finish(kGone);
  }
  void OnCancel() override {
    bool ends = false;
    {
      const std::lock_guard lock(service_.mutex_);
      cancelled_ = true;
      ends = !writing_ && !std::exchange(finished_, true);
    }
    if (ends) Finish(kGone);
  }
  void OnDone() override {
    {
      const std::lock_guard lock(service_.mutex_);
      if (service_.watches_.erase(this) == 1 && --service_.watches_of_[peer_] == 0) service_.watches_of_.erase(peer_);
    }
    delete this;
  }

 private:
  static inline const grpc::Status kGone{grpc::StatusCode::CANCELLED, "the client has gone, or the server is stopping"};

  HealthService& service_;
  const std::string peer_;
  const bool known_;
  HealthCheckResponse response_;
  HealthCheckResponse::ServingStatus told_ = HealthCheckResponse::UNKNOWN;
  bool writing_ = false;
  bool cancelled_ = false;
  bool finished_ = false;
};

HealthCheckResponse::ServingStatus HealthService::status() const {
  return serving_ ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

void HealthService::set_serving(bool serving) {
  std::vector<HealthWatch*> chosen;  // none of them ends before its send()
  {
    const std::lock_guard lock(mutex_);
    serving_ = serving;
    for (HealthWatch* watch : watches_) {
      if (watch->choose()) chosen.push_back(watch);
    }
  }
  for (HealthWatch* watch : chosen) watch->send();
}

grpc::ServerUnaryReactor* HealthService::Check(grpc::CallbackServerContext* context, const HealthCheckRequest* request,
                                               HealthCheckResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (!is_known(request->service())) {
    reactor->Finish({grpc::StatusCode::NOT_FOUND, "no such service"});
    return reactor;
  }
  {
    const std::lock_guard lock(mutex_);
    response->set_status(status());
  }
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerWriteReactor<HealthCheckResponse>* HealthService::Watch(grpc::CallbackServerContext* context,
                                                                    const HealthCheckRequest* request) {
  auto* watch = new HealthWatch(*this, context->peer(), is_known(request->service()));
  bool joined = false;
  {
    const std::lock_guard lock(mutex_);
    joined = watch->join();
    if (joined) watch->choose();
  }
  if (joined) {
    watch->send();
  } else {
    watch->refuse();
  }
  return watch;
}

}  // namespace octet
