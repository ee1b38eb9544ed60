#include "runtime/service/metrics/model_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>

#include <algorithm>
#include <numeric>
#include <string>

namespace octet {

ModelMetrics::ModelMetrics(prometheus::Registry& registry, std::vector<std::vector<int32_t>> experts_of_place)
    : experts_of_place_(std::move(experts_of_place)),
      expert_tokens_(prometheus::BuildCounter()
                         .Name("octet_expert_tokens_total")
                         .Help("Tokens that an expert was given, of all ranks.")
                         .Register(registry)),
      imbalance_(prometheus::BuildGauge()
                     .Name("octet_expert_load_imbalance")
                     .Help("Tokens of the busiest rank over the mean of the ranks, of the last steps.")
                     .Register(registry)),
      exchange_modes_(prometheus::BuildCounter()
                          .Name("octet_exchange_mode_total")
                          .Help("Steps, by how their rows reached the experts.")
                          .Register(registry)),
      rank_wait_(prometheus::BuildGauge()
                     .Name("octet_rank_wait_seconds")
                     .Help("A rank's time inside collectives since it started.")
                     .Register(registry)) {}

void ModelMetrics::update(const ModelTotals& totals) {
  update_experts(totals.expert_load);
  for (size_t layout = 0; layout < totals.steps_of_layout.size(); ++layout) {
    const bool sliced = static_cast<RowLayoutKind>(layout) == RowLayoutKind::kSliced;
    exchange_modes_.Add({{"mode", sliced ? "all-to-all" : "replicated"}})
        .Increment(static_cast<double>(totals.steps_of_layout[layout] - seen_.steps_of_layout[layout]));
  }
  for (size_t rank = 0; rank < totals.wait_seconds.size(); ++rank) {
    rank_wait_.Add({{"rank", std::to_string(rank)}}).Set(totals.wait_seconds[rank]);
  }
  seen_ = totals;
}

void ModelMetrics::update_experts(const ExpertLoad& load) {
  std::vector<int64_t> grown(static_cast<size_t>(load.num_experts()));
  for (int64_t layer = 0; layer < load.num_layers(); ++layer) {
    const std::string layer_name = std::to_string(layer);
    for (int64_t e = 0; e < load.num_experts(); ++e) {
      const bool first = seen_.expert_load.num_layers() == 0;
      const int64_t tokens = load.tokens(layer, e) - (first ? 0 : seen_.expert_load.tokens(layer, e));
      grown[static_cast<size_t>(e)] = tokens;
      expert_tokens_.Add({{"layer", layer_name}, {"expert", std::to_string(e)}}).Increment(static_cast<double>(tokens));
    }
    imbalance_.Add({{"layer", layer_name}}).Set(imbalance(grown));
  }
}

// 1 where all ranks have as much, and where nobody has anything. Places that share an expert share its tokens.
double ModelMetrics::imbalance(const std::vector<int64_t>& tokens_of_expert) const {
  const int64_t total = std::accumulate(tokens_of_expert.begin(), tokens_of_expert.end(), int64_t{0});
  if (total == 0 || experts_of_place_.size() <= 1) return 1;
  std::vector<double> owners(tokens_of_expert.size());
  for (const auto& experts : experts_of_place_) {
    for (const int32_t e : experts) ++owners[static_cast<size_t>(e)];
  }
  double most = 0;
  for (const auto& experts : experts_of_place_) {
    double tokens = 0;
    for (const int32_t e : experts) {
      tokens += static_cast<double>(tokens_of_expert[static_cast<size_t>(e)]) / owners[static_cast<size_t>(e)];
    }
    most = std::max(most, tokens);
  }
  return most * static_cast<double>(experts_of_place_.size()) / static_cast<double>(total);
}

}  // namespace octet
