// What a model's totals become for Prometheus: the experts' load, the exchanges used, the ranks' waiting.
#pragma once

#include <prometheus/registry.h>

#include <cstdint>
#include <vector>

#include "runtime/model/expert_load.h"

namespace octet {

// One thread updates; a scrape may come at any time.
class ModelMetrics {
 public:
  // experts_of_place [ep]: the experts of each place, whose ranks share its tokens evenly; empty: one place has all.
  ModelMetrics(prometheus::Registry& registry, std::vector<std::vector<int32_t>> experts_of_place);

  // The totals have grown to these. A layer's imbalance is that of the tokens since the last update.
  void update(const ModelTotals& totals);

 private:
  void update_experts(const ExpertLoad& load);
  double imbalance(const std::vector<int64_t>& tokens_of_expert) const;

  std::vector<std::vector<int32_t>> experts_of_place_;
  prometheus::Family<prometheus::Counter>& expert_tokens_;
  prometheus::Family<prometheus::Gauge>& imbalance_;
  prometheus::Family<prometheus::Counter>& exchange_modes_;
  prometheus::Family<prometheus::Gauge>& rank_wait_;
  ModelTotals seen_;
};

}  // namespace octet
