// ShardWeights: the weights one rank owns, prepared for its backend.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "kernels/backend.h"
#include "parallel/shard_plan.h"
#include "runtime/base/status.h"
#include "runtime/checkpoint/checkpoint.h"

namespace octet {

struct AttentionWeights {
  Tensor norm;    // F32 [hidden]
  Weight qkv;     // [(heads + 2 · kv_heads) · head_dim of this rank, hidden]
  Weight output;  // [hidden, heads · head_dim of this rank], one partial a KV head
};

struct MoeWeights {
  Tensor norm;    // F32 [hidden]
  Weight router;  // [num_experts, hidden]
};

// Of one layer.
struct ExpertWeights {
  WeightGroup gate_up;  // of each local expert: w1 and w3, gated, [ffn of this rank, hidden]
  WeightGroup down;     // of each local expert: w2, [hidden, ffn of this rank], one partial an ffn slice
};

struct ShardWeights {
  Tensor embedding;  // [vocab, hidden] in the weights' type
  std::vector<AttentionWeights> attention;
  std::vector<MoeWeights> moe;
  std::vector<ExpertWeights> experts;  // [layers]
  Tensor final_norm;                   // F32 [hidden]
  Weight lm_head;                      // [vocabulary of this rank, hidden]
  int64_t bytes_read = 0;              // of the checkpoint's files
};

struct LoadOptions {
  std::optional<WeightFormat> format;  // keep every matrix in this one; unset: in its file's own
  // Called with the bytes read so far, after each matrix.
  std::function<void(int64_t bytes_read)> progress;
};

// Parameters of the model that a rank holds.
int64_t shard_parameters(const ModelConfig& config, const ShardPlan& plan);

// Bytes of the matrices that load_shard_weights will load: as the files hold them, or kept in `format`.
int64_t shard_bytes(const Checkpoint& checkpoint, const ShardPlan& plan,
                    std::optional<WeightFormat> format = std::nullopt);
// The format of all matrices in the checkpoint; kF32 where they differ.
WeightFormat common_matrix_format(const Checkpoint& checkpoint);

// Reads exactly the byte ranges of the checkpoint that `plan` owns, one matrix at a time, and drops each mapped range
// once it is prepared. An interrupted or failing disk read ends the process (SIGBUS), as with any mapped file.
ShardWeights load_shard_weights(const Checkpoint& checkpoint, const ShardPlan& plan, Backend& backend,
                                const LoadOptions& options);

}  // namespace octet
