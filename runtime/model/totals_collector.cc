#include "runtime/model/totals_collector.h"

#include <cstring>

namespace octet {

TotalsCollector::TotalsCollector(const ModelRank& rank, int64_t num_layers, int64_t num_experts)
    : rank_(rank), expert_load_(num_layers, num_experts), totals_{.expert_load = expert_load_} {}

void TotalsCollector::add(const PlanRows& rows, const ChosenExperts& ids) {
  ++totals_.steps_of_layout[static_cast<size_t>(rows.layout)];
  if (!rows.is_copy) ids.count(rows.all.mine.size(), rows.wanted.mine.size(), expert_load_);
}

// Adds a rank's message to the totals.
void TotalsCollector::add_message() {
  totals_.expert_load.add(std::span<const int64_t>(message_).first(expert_load_.all().size()));
  totals_.wait_seconds.push_back(static_cast<double>(message_.back()) * 1e-9);
}

const ModelTotals& TotalsCollector::collect() {
  int64_t waited = 0;
  for (const PhaseTotals& phase : rank_.comms.world.progress().totals()) waited += phase.nanoseconds;
  message_.assign(expert_load_.all().begin(), expert_load_.all().end());
  message_.push_back(waited);
  totals_.expert_load.clear();
  totals_.wait_seconds.clear();
  if (rank_.is_alone()) {
    add_message();
    return totals_;
  }
  rank_.comms.world.progress().set_place(kNoLayer, Phase::kPlan);
  for (const auto& bytes : rank_.comms.world.host().gather(std::as_bytes(std::span(message_)), /*root=*/0)) {
    std::memcpy(message_.data(), bytes.data(), bytes.size());
    add_message();
  }
  return totals_;
}

// The ranks' rows are those of the groups in order, each group's ascending.
std::span<const int32_t> TotalsCollector::collect_choices(const PlanRows& rows, const ChosenExperts& ids) {
  choices_.clear();
  if (!rows.is_copy) ids.append(rows.kept_wanted, choices_);
  if (rank_.is_alone()) return choices_;
  rank_.comms.world.progress().set_place(kNoLayer, Phase::kPlan);
  const auto parts = rank_.comms.world.host().gather(std::as_bytes(std::span(choices_)), /*root=*/0);
  if (!rank_.leads()) return choices_;
  choices_.clear();
  for (const auto& bytes : parts) {
    const size_t begin = choices_.size();
    choices_.resize(begin + bytes.size() / sizeof(int32_t));
    if (!bytes.empty()) std::memcpy(choices_.data() + begin, bytes.data(), bytes.size());
  }
  return choices_;
}

}  // namespace octet
