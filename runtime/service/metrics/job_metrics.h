// What the ranks of a job cost and how they are, read when Prometheus asks.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <utility>
#include <vector>

#include "runtime/service/grpc/server.h"

namespace octet {

// Thread-safe as the watch's functions are.
class JobMetrics final : public prometheus::Collectable {
 public:
  explicit JobMetrics(JobWatch watch) : watch_(std::move(watch)) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const JobWatch watch_;
};

}  // namespace octet
