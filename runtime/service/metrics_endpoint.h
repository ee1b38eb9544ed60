// MetricsEndpoint: Prometheus text at http://ADDRESS/metrics.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/exposer.h>

#include <memory>
#include <string>

#include "runtime/base/status.h"

namespace octet {

class MetricsEndpoint {
 public:
  // kInvalidInput, one line, where nobody can listen there; port 0: any.
  static Result<std::unique_ptr<MetricsEndpoint>> open(const std::string& listen);
  ~MetricsEndpoint();
  MetricsEndpoint(const MetricsEndpoint&) = delete;
  MetricsEndpoint& operator=(const MetricsEndpoint&) = delete;

  // Holds it weakly.
  void add(const std::shared_ptr<prometheus::Collectable>& source) { exposer_->RegisterCollectable(source); }
  // With the port that was chosen.
  const std::string& address() const { return address_; }

 private:
  MetricsEndpoint(std::unique_ptr<prometheus::Exposer> exposer, const std::string& listen);

  std::unique_ptr<prometheus::Exposer> exposer_;
  std::string host_;
  std::string port_;
  std::string address_;
};

}  // namespace octet
