#include "runtime/model/step_context.h"

namespace octet {

Workspace::Workspace(Backend& backend, const ModelConfig& config, const ShardPlan& plan, int64_t max_rows,
                     int64_t max_assignments) {
  const auto rows_of = [&](DType dtype, int64_t rows, int64_t width) {
    return backend.allocate_tensor(dtype, {rows, width});
  };
  const int64_t kv_size = plan.kv_heads.size() * config.head_dim;
  const int64_t query_size = kv_size * (config.num_heads / config.num_kv_heads);
  normed = rows_of(DType::kF32, max_rows, config.hidden_size);
  qkv = rows_of(DType::kF32, max_rows, query_size + 2 * kv_size);
  attended = rows_of(DType::kF32, max_rows, query_size);
  delta = rows_of(DType::kF32, max_rows, config.hidden_size);
  rope_table = rows_of(DType::kF32, max_rows, config.head_dim);
  router_logits = rows_of(DType::kF32, max_rows, config.num_experts);
  expert_weights = rows_of(DType::kF32, max_rows, config.experts_per_token);
  activated = rows_of(DType::kF32, max_assignments, plan.ffn.size());
  expert_out = rows_of(DType::kF32, max_assignments, config.hidden_size);
}

}  // namespace octet
