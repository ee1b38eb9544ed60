#include "parallel/shard_plan.h"

namespace octet {

Range near_equal_part(int64_t total, int64_t parts, int64_t index) {
  return {index * total / parts, (index + 1) * total / parts};
}

std::vector<int64_t> near_equal_bounds(int64_t total, int64_t parts) {
  std::vector<int64_t> bounds;
  for (int64_t i = 0; i <= parts; ++i) bounds.push_back(i * total / parts);
  return bounds;
}

ShardPlan make_shard_plan(const Topology& topology, int rank, int64_t num_kv_heads, int64_t vocab_size,
                          int64_t ffn_size, const std::vector<std::vector<int32_t>>& experts_of_place) {
  ShardPlan plan;
  plan.kv_heads = near_equal_part(num_kv_heads, topology.tp, topology.tp_index(rank));
  plan.vocabulary = near_equal_part(vocab_size, topology.tp, topology.tp_index(rank));
  plan.ffn_slices = near_equal_part(kNumFfnSlices, topology.etp, topology.etp_index(rank));
  plan.ffn = {plan.ffn_slices.begin * ffn_size / kNumFfnSlices, plan.ffn_slices.end * ffn_size / kNumFfnSlices};
  plan.experts = experts_of_place[static_cast<size_t>(topology.ep_index(rank))];
  return plan;
}

}  // namespace octet
