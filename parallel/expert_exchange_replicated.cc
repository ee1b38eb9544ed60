#include "parallel/expert_exchange_replicated.h"

namespace octet {

ReplicatedExpertExchange::ReplicatedExpertExchange(Backend& backend, TreeReducer& ep_reducer,
                                                   const ReplicatedExchangeOptions& options)
    : backend_(backend),
      ep_reducer_(ep_reducer),
      top_k_(options.top_k),
      local_expert_(backend.allocate_tensor(DType::kI32, {options.num_experts})),
      offsets_(backend.allocate_tensor(DType::kI32, {static_cast<int64_t>(options.local_experts.size()) + 1})),
      assignment_row_(backend.allocate_tensor(DType::kI32, {options.max_rows * options.top_k})),
      slots_(backend.allocate_tensor(DType::kI32, {options.max_rows, options.top_k})) {
  std::vector<int32_t> local(static_cast<size_t>(options.num_experts), -1);
  for (size_t i = 0; i < options.local_experts.size(); ++i) {
    local[static_cast<size_t>(options.local_experts[i])] = static_cast<int32_t>(i);
  }
  HostStream stream;
  backend.upload(local.data(), local_expert_.view, stream);
}

Route ReplicatedExpertExchange::dispatch(TensorView rows, TensorView ids, TensorView weights, Stream& stream) {
  const TensorView assignment_row = assignment_row_.view.slice_rows(0, max_assignments(rows.rows()));
  const ExpertGroups groups{offsets_.view, assignment_row, slots_.view.slice_rows(0, rows.rows())};
  backend_.group_by_expert(ids, local_expert_.view, groups, stream);
  return {rows, ids, weights, groups};
}

void ReplicatedExpertExchange::combine(const Route& route, TensorView y, TensorView out, Stream& stream) {
  backend_.weighted_sum(y, route.groups.slots, route.ids, route.weights, out, stream);
  ep_reducer_.all_reduce(out, stream);
}

}  // namespace octet
