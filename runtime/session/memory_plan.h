// What a rank's device memory goes to, before anything is allocated.
#pragma once

#include <vector>

#include "runtime/model/mixtral.h"
#include "runtime/session/rank_plan.h"

namespace octet {

// Of one rank, in bytes.
struct MemoryPlan {
  int64_t device = 0;     // what there is
  int64_t weights = 0;    // by placement
  int64_t workspace = 0;  // Mixtral::working_memory
  int64_t reserve = 0;    // library_reserve of a GPU, host_reserve of a host
  int64_t kv_bytes_per_token = 0;

  // For the KV cache; negative: so much is missing.
  int64_t left() const { return device - weights - workspace - reserve; }
  int64_t kv_tokens() const { return left() > 0 ? left() / kv_bytes_per_token : 0; }
};

// What a GPU keeps for its libraries and loses to fragmentation: a twentieth. An assumption.
int64_t library_reserve(int64_t device_bytes);
// What a host keeps for the program itself, its threads, requests and answers: a twentieth, and 48 MiB.
int64_t host_reserve(int64_t available_bytes);

// Of all ranks, for a model with these options. Errors as Mixtral::create.
Result<std::vector<MemoryPlan>> plan_memory(const ModelConfig& config, const Topology& topology,
                                            const std::vector<RankPlan>& ranks, int64_t device_bytes,
                                            const PlannedDevice& device, const MixtralOptions& options);

// Tokens that the KV caches of all ranks hold together: each dp group has as many as its poorest rank.
int64_t kv_tokens_of_job(const Topology& topology, const std::vector<MemoryPlan>& memory);

}  // namespace octet
