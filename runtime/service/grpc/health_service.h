// Health: whether the service serves. The library's own says SERVING from the moment it listens until it is told
// otherwise.
#pragma once

#include <map>
#include <mutex>
#include <set>
#include <string>

#include "runtime/service/health.grpc.pb.h"

namespace octet {

class HealthWatch;

// Knows the server ("") and octet.v1.Generation, which serve together, and says NOT_SERVING until told otherwise. Asks
// for no key; so there are few watches of a connection, and not too many of all. Thread-safe.
class HealthService final : public grpc::health::v1::Health::CallbackService {
 public:
  // Whoever watches hears of it.
  void set_serving(bool serving);

  static constexpr size_t kMaxWatches = 1024, kMaxWatchesOfConnection = 16;

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
  std::map<std::string, size_t> watches_of_;  // of each connection that has some
};

}  // namespace octet
