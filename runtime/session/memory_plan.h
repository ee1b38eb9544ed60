// What a rank's device memory goes to, before anything is allocated.
#pragma once

#include <vector>

#include "runtime/session/rank_plan.h"

namespace octet {

// Of one rank, in bytes.
struct MemoryPlan {
  int64_t device = 0;     // what there is
  int64_t weights = 0;    // by placement
  int64_t workspace = 0;  // workspace_bytes
  int64_t reserve = 0;    // library_reserve of a GPU, host_reserve of a host
  int64_t kv_bytes_per_token = 0;

  // For the KV cache; negative: so much is missing.
  int64_t left() const { return device - weights - workspace - reserve; }
  int64_t kv_tokens() const { return left() > 0 ? left() / kv_bytes_per_token : 0; }
};

struct WorkspaceRequest {
  bool gpu = false;
  int64_t max_rows = 0;        // of a step in one dp group
  int64_t max_logit_rows = 0;  // whose logits are wanted
};

// Bytes on one rank beside weights and KV cache: activations of the largest step and logits, in fp32; on a GPU 16-bit
// copies of what products read and give, too. Without the buffers of a host's transport.
int64_t workspace_bytes(const ModelConfig& config, const Topology& topology, const ShardPlan& shard,
                        const WorkspaceRequest& request);
// What a GPU keeps for its libraries and loses to fragmentation: a twentieth. An assumption.
int64_t library_reserve(int64_t device_bytes);
// What a host keeps for the program itself, its threads, requests and answers: a twentieth, and 48 MiB.
int64_t host_reserve(int64_t available_bytes);

std::vector<MemoryPlan> plan_memory(const ModelConfig& config, const Topology& topology,
                                    const std::vector<RankPlan>& ranks, int64_t device_bytes,
                                    const WorkspaceRequest& request);

// Tokens that the KV caches of all ranks hold together: each dp group has as many as its poorest rank.
int64_t kv_tokens_of_job(const Topology& topology, const std::vector<MemoryPlan>& memory);

}  // namespace octet
