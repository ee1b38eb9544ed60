// StepContext: everything a layer needs besides its weights and the rows: the device, the groups it works with, what
// the rows are, and scratch memory. Passed down, never global.
#pragma once

#include "comm/progress.h"
#include "kernels/backend.h"
#include "parallel/expert_exchange.h"
#include "parallel/row_layout.h"
#include "runtime/checkpoint/model_config.h"
#include "runtime/model/shard_weights.h"
#include "runtime/model/step_timer.h"

namespace octet {

// Intermediate activations of one layer; F32 unless said otherwise, allocated for the largest step.
struct Workspace {
  Workspace(Backend& backend, const ModelConfig& config, const ShardPlan& plan, int64_t max_rows,
            int64_t max_assignments);

  Tensor normed;          // [rows, hidden]
  Tensor qkv;             // [rows, (heads + 2 · kv_heads) · head_dim] of this rank
  Tensor attended;        // [rows, heads · head_dim] of this rank
  Tensor delta;           // [rows, hidden]: what a block adds to the residual stream
  Tensor rope_table;      // [rows, head_dim]
  Tensor router_logits;   // [rows, num_experts]
  Tensor expert_weights;  // [rows, top_k]
  Tensor activated;       // [assignments, ffn of this rank]
  Tensor expert_out;      // [assignments, hidden]
};

struct StepContext {
  Backend& backend;
  Stream& stream;
  const ModelConfig& config;
  const RowLayout& layout;
  ExpertExchange& experts;
  CommProgress& progress;  // told which phase of which layer is under way
  StepTimer& timer;
  Workspace& workspace;
  AttentionShape attention;  // of this rank
  PagedBatch batch;          // the step's rows, of the whole tp group
  TensorView rope_table;     // of the same rows
};

}  // namespace octet
