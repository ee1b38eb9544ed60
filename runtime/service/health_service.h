// Health: whether the service serves. The library's own says SERVING from the moment it listens until it is told
// otherwise.
#pragma once

#include <mutex>
#include <set>

#include "runtime/service/health.grpc.pb.h"

namespace octet {

class HealthWatch;

// Knows the server ("") and octet.v1.Generation, which serve together, and says NOT_SERVING until told otherwise. Asks
// for no key. Thread-safe.
class HealthService final : public grpc::health::v1::Health::CallbackService {
 public:
  // Whoever watches hears of it.
  void set_serving(bool serving);

  // NOT_FOUND for an unknown service.
  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const grpc::health::v1::HealthCheckRequest* request,
                                  grpc::health::v1::HealthCheckResponse* response) override;
  grpc::ServerWriteReactor<grpc::health::v1::HealthCheckResponse>* Watch(
      grpc::CallbackServerContext* context, const grpc::health::v1::HealthCheckRequest* request) override;

 private:
  friend class HealthWatch;

  grpc::health::v1::HealthCheckResponse::ServingStatus status() const;

  mutable std::mutex mutex_;  // guards what follows
  bool serving_ = false;
  std::set<HealthWatch*> watches_;
};

}  // namespace octet
