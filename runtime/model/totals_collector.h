// TotalsCollector: what a model's steps add up to, on this rank, and what all ranks tell rank 0 of it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/model/chosen_experts.h"
#include "runtime/model/expert_load.h"
#include "runtime/model/model_rank.h"
#include "runtime/model/plan_rows.h"

namespace octet {

class TotalsCollector {
 public:
  TotalsCollector(const ModelRank& rank, int64_t num_layers, int64_t num_experts);

  // Adds a step whose choices are in host memory.
  void add(const PlanRows& rows, const ChosenExperts& ids);
  // Sums the ranks' totals; on rank 0 those of the job, valid until the next call. Collective.
  const ModelTotals& collect();
  // The choices of the rows of a step's logits, [logit rows, layers, top_k]: on rank 0 of all ranks, on the others
  // this rank's. Valid until the next call. Collective.
  std::span<const int32_t> collect_choices(const PlanRows& rows, const ChosenExperts& ids);

 private:
  void add_message();

  ModelRank rank_;
  ExpertLoad expert_load_;        // of the rows that this rank counts
  ModelTotals totals_;            // of all ranks when they were last asked; rank 0
  std::vector<int64_t> message_;  // a rank's expert load, then the nanoseconds that it waited
  std::vector<int32_t> choices_;
};

}  // namespace octet
