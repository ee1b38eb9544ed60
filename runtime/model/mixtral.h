// Mixtral: one rank's model, a ModelRunner.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/device_comm.h"
#include "kernels/backend.h"
#include "parallel/expert_exchange_replicated.h"
#include "parallel/row_layout.h"
#include "parallel/topology.h"
#include "runtime/model/checkpoint.h"
#include "runtime/model/kv_store.h"
#include "runtime/model/model_runner.h"
#include "runtime/model/shard_weights.h"
#include "runtime/model/step_context.h"

namespace octet {

struct MixtralOptions {
  int64_t max_rows = 512;        // rows of one step
  int64_t max_logit_rows = 512;  // rows among them whose logits are wanted
  int64_t num_pages = 0;         // KV pages
  int64_t max_context = 0;       // longest sequence in tokens; 0: the checkpoint's
  DType kv_dtype = DType::kF32;
  LoadOptions load;
};

// Rank `rank`'s communicators; borrowed.
struct ModelGroups {
  DeviceComm& tp;       // attention and the LM head
  DeviceComm& experts;  // the ranks among which rows are exchanged
};

class Mixtral final : public ModelRunner {
 public:
  // Loads rank `rank`'s shard. The checkpoint is not needed afterwards; backend and communicators must outlive the
  // model.
  Mixtral(const Checkpoint& checkpoint, const Topology& topology, int rank, Backend& backend, const ModelGroups& groups,
          const MixtralOptions& options);

  int64_t max_rows() const override { return options_.max_rows; }
  int64_t max_logit_rows() const override { return options_.max_logit_rows; }
  int64_t num_pages() const override { return kv_.shape().num_pages; }
  int64_t num_groups() const override { return topology_.dp; }
  int64_t vocab_size() const override { return config_.vocab_size; }
  int64_t max_context() const override { return max_context_; }
  Result<StepResult> run(const StepPlan& plan) override;

  int64_t weight_bytes_read() const { return weights_.bytes_read; }

 private:
  // Uploads the rows' ids, positions and page tables.
  PagedBatch upload_batch(const GroupPlan& group);
  // Keeps only the rows whose logits are wanted.
  TensorView select_logit_rows(const GroupPlan& group, TensorView x);

  ModelConfig config_;
  Topology topology_;
  int rank_;
  Backend& backend_;
  HostStream stream_;
  MixtralOptions options_;
  int64_t max_context_;
  ShardPlan shard_;
  ShardWeights weights_;
  KvStore kv_;
  TreeReducer tp_reducer_;
  TreeReducer expert_reducer_;
  ReplicatedRows rows_;
  ReplicatedExpertExchange exchange_;
  Workspace workspace_;
  AttentionShape attention_;

  Tensor inverse_frequency_;         // [head_dim / 2]
  Tensor token_ids_;                 // I32 [max_rows]
  Tensor positions_;                 // I32 [max_rows]
  Tensor page_tables_;               // I32 [max_rows · most pages of a sequence]
  Tensor row_index_;                 // I32 [max_logit_rows]
  Tensor residual_;                  // [max_rows, hidden]
  Tensor selected_;                  // [max_logit_rows, hidden]
  Tensor logits_;                    // [max_logit_rows, vocab]
  Tensor host_logits_;               // the same in host memory
  std::vector<int32_t> host_index_;  // staging of uploads
};

}  // namespace octet
