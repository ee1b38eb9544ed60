#include "runtime/model/row_strategies.h"

#include <algorithm>

#include "parallel/expert_exchange_all_to_all.h"

namespace octet {
namespace {

ExchangeShape with_rows(ExchangeShape shape, int64_t max_rows) {
  shape.max_rows = max_rows;
  return shape;
}

}  // namespace

RowStrategies::RowStrategies(const ModelRank& rank, const ExchangeShape& shape, const MostRows& most_rows)
    : tp_reducer_(
          make_reducer(rank.backend, *rank.comms.tp,
                       std::max(most_rows.sliced.value_or(0), most_rows.replicated.value_or(0)) * shape.hidden)) {
  if (most_rows.replicated) {
    strategies_[static_cast<size_t>(RowLayoutKind::kReplicated)] = {
        std::make_unique<ReplicatedRows>(*tp_reducer_),
        std::make_unique<ReplicatedExpertExchange>(rank.backend, rank.comms, rank.topology,
                                                   with_rows(shape, *most_rows.replicated))};
  }
  if (most_rows.sliced) {
    strategies_[static_cast<size_t>(RowLayoutKind::kSliced)] = {
        std::make_unique<SlicedRows>(rank.backend, *rank.comms.tp, *tp_reducer_, *most_rows.sliced, shape.hidden),
        std::make_unique<AllToAllExpertExchange>(rank.backend, rank.comms, rank.topology,
                                                 with_rows(shape, *most_rows.sliced))};
  }
}

const RowStrategy& RowStrategies::of(RowLayoutKind layout) const {
  const RowStrategy& strategy = strategies_[static_cast<size_t>(layout)];
  OCTET_CHECK(strategy.rows != nullptr, "no step of this job is {}", row_layout_name(layout));
  return strategy;
}

int64_t RowStrategies::max_assignments() const {
  int64_t most = 0;
  for (const RowStrategy& strategy : strategies_) {
    if (strategy.experts != nullptr) most = std::max(most, strategy.experts->max_assignments());
  }
  return most;
}

}  // namespace octet
