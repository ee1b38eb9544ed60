#include "runtime/session/memory_plan.h"

#include <algorithm>

namespace octet {

int64_t library_reserve(int64_t device_bytes) { return device_bytes / 20; }

int64_t host_reserve(int64_t available_bytes) { return available_bytes / 20 + (int64_t{48} << 20); }

Result<std::vector<MemoryPlan>> plan_memory(const ModelConfig& config, const Topology& topology,
                                            const std::vector<RankPlan>& ranks, int64_t device_bytes,
                                            const PlannedDevice& device, const MixtralOptions& options) {
  const bool is_gpu = device.memory == MemoryKind::kCuda;
  std::vector<MemoryPlan> plans;
  for (const RankPlan& rank : ranks) {
    OCTET_ASSIGN_OR_RETURN(const int64_t workspace,
                           Mixtral::working_memory(config, topology, static_cast<int>(plans.size()), device, options));
    plans.push_back({.device = device_bytes,
                     .weights = rank.weight_bytes,
                     .workspace = workspace,
                     .reserve = is_gpu ? library_reserve(device_bytes) : host_reserve(device_bytes),
                     .kv_bytes_per_token = rank.kv_bytes_per_token});
  }
  return plans;
}

int64_t kv_tokens_of_job(const Topology& topology, const std::vector<MemoryPlan>& memory) {
  int64_t tokens = 0;
  for (size_t group = 0; group < memory.size(); group += static_cast<size_t>(topology.tp)) {
    const auto begin = memory.begin() + static_cast<ptrdiff_t>(group);
    tokens += std::ranges::min(std::vector(begin, begin + topology.tp), {}, &MemoryPlan::kv_tokens).kv_tokens();
  }
  return tokens;
}

}  // namespace octet
