// The exchange of the replicated row layout: every rank of the expert group has all rows already, computes those of its
// experts, and the weighted sums are reduced over the group.
#pragma once

#include <vector>

#include "parallel/expert_exchange.h"
#include "parallel/tree_reduce.h"

namespace octet {

struct ReplicatedExchangeOptions {
  int64_t num_experts = 0;
  int64_t top_k = 0;
  std::vector<int32_t> local_experts;  // global ids, ascending
  int64_t max_rows = 0;
};

class ReplicatedExpertExchange final : public ExpertExchange {
 public:
  ReplicatedExpertExchange(Backend& backend, TreeReducer& ep_reducer, const ReplicatedExchangeOptions& options);

  int64_t max_assignments(int64_t rows) const override { return rows * top_k_; }
  Route dispatch(TensorView rows, TensorView ids, TensorView weights, Stream& stream) override;
  void combine(const Route& route, TensorView y, TensorView out, Stream& stream) override;

 private:
  Backend& backend_;
  TreeReducer& ep_reducer_;
  int64_t top_k_;
  Tensor local_expert_;    // I32 [num_experts]
  Tensor offsets_;         // I32 [local experts + 1]
  Tensor assignment_row_;  // I32 [max_rows · top_k]
  Tensor slots_;           // I32 [max_rows, top_k]
};

}  // namespace octet
