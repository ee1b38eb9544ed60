#include "runtime/model/attention_layer.h"

namespace octet {

void attention_layer(const StepContext& step, const StepRows& rows, const AttentionWeights& weights,
                     const KvCacheView& cache, TensorView x) {
  Backend& backend = step.backend;
  Stream& stream = step.stream;
  Workspace& scratch = step.workspace;
  step.timer.enter(StepPhase::kAttention);

  const TensorView normed = scratch.normed.view.slice_rows(0, x.rows());
  backend.rms_norm(x, weights.norm.view, step.config.rms_norm_eps, normed, stream);
  const TensorView all_rows = step.layout.gather(rows, normed, stream);

  const TensorView qkv = scratch.qkv.view.slice_rows(0, rows.num_rows);
  backend.gemm(all_rows, weights.qkv, qkv, stream);
  backend.rope_and_store_kv(qkv, step.rope_table, step.batch, step.attention, cache, stream);
  const TensorView attended = scratch.attended.view.slice_rows(0, rows.num_rows);
  backend.paged_attention(qkv, step.batch, step.attention, cache, attended, stream);

  const TensorView partial = scratch.delta.view.slice_rows(0, rows.num_rows);
  backend.gemm(attended, weights.output, partial, stream);
  step.progress.set_phase(Phase::kReduce);
  backend.add(x, step.layout.reduce(rows, partial, stream), stream);
}

}  // namespace octet
