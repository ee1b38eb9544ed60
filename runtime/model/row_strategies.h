// RowStrategies: the ways in which a job's steps can hold their rows and carry them to their experts. What no step of
// the job can use takes no memory.
#pragma once

#include <array>
#include <memory>

#include "parallel/expert_exchange_replicated.h"
#include "parallel/row_layout.h"
#include "parallel/row_layout_choice.h"
#include "runtime/model/model_rank.h"

namespace octet {

struct RowStrategy {
  std::unique_ptr<RowLayout> rows;
  std::unique_ptr<ExpertExchange> experts;
};

class RowStrategies {
 public:
  // most_rows bounds the steps of each layout, instead of the shape's max_rows. Collective over the rank's groups.
  RowStrategies(const ModelRank& rank, const ExchangeShape& shape, const MostRows& most_rows);

  // REQUIRES: steps of this layout can occur.
  const RowStrategy& of(RowLayoutKind layout) const;
  // Most assignments that a step can bring to this rank.
  int64_t max_assignments() const;

 private:
  std::unique_ptr<Reducer> tp_reducer_;
  std::array<RowStrategy, 2> strategies_;  // by RowLayoutKind
};

}  // namespace octet
