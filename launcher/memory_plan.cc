#include "launcher/memory_plan.h"

#include <algorithm>

#include "launcher/output.h"

namespace octet {
namespace {

// Of a GPU: CUDA's context and code, cuBLAS's workspace, NCCL's buffers.
constexpr int64_t kGpuReserve = 2'000'000'000;

std::string text_of(int64_t bytes) { return human_bytes(static_cast<double>(bytes)); }

// Products of rows and experts that a rank computes at the most: every row of its expert group may choose its experts.
int64_t max_assignments(const ModelConfig& config, const Topology& t, const ShardPlan& shard, int64_t max_rows) {
  const int64_t rows = max_rows * std::max(1, t.dp / t.replicas);
  return rows * std::min<int64_t>(config.experts_per_token, static_cast<int64_t>(shard.experts.size()));
}

int64_t workspace_bytes(const ModelConfig& c, const Topology& t, const ShardPlan& shard, const MemoryRequest& request) {
  const int64_t kv = shard.kv_heads.size() * c.head_dim;
  const int64_t query = kv * (c.num_heads / c.num_kv_heads);
  const int64_t assignments = max_assignments(c, t, shard, request.max_rows);
  // Residual, normed and delta rows, what the group gathers of them, q, k and v, attention's output, the router.
  const int64_t row = 4 * c.hidden_size + 2 * query + 2 * kv + c.head_dim + c.num_experts + 2 * c.experts_per_token;
  // An expert's input, its activations and its output.
  const int64_t assignment = 2 * c.hidden_size + shard.ffn.size();
  const int64_t logits = c.hidden_size + shard.vocabulary.size() + (t.world > 1 ? t.dp * c.vocab_size : 0);
  return 4 * (request.max_rows * row + assignments * assignment + request.max_logit_rows * logits);
}

bool same_plan(const MemoryPlan& a, const MemoryPlan& b) {
  return a.weights == b.weights && a.workspace == b.workspace && a.kv_bytes_per_token == b.kv_bytes_per_token;
}

std::string rank_range(size_t begin, size_t end) {
  return end - begin == 1 ? fmt::format("rank {}", begin) : fmt::format("ranks {}-{}", begin, end - 1);
}

}  // namespace

std::vector<MemoryPlan> plan_memory(const ModelConfig& config, const Topology& topology,
                                    const std::vector<RankPlan>& ranks, const MemoryRequest& request) {
  std::vector<MemoryPlan> plans;
  for (const RankPlan& rank : ranks) {
    plans.push_back({.device = request.device_bytes,
                     .weights = rank.weight_bytes,
                     .workspace = workspace_bytes(config, topology, rank.shard, request),
                     .reserve = request.gpu ? kGpuReserve : 0,
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

std::string memory_text(const ModelConfig& config, const Topology& topology, const std::vector<MemoryPlan>& memory) {
  std::string text = fmt::format("memory of {} a rank\n", text_of(memory.front().device));
  for (size_t begin = 0, end = 0; begin < memory.size(); begin = end) {
    const MemoryPlan& m = memory[begin];
    while (end < memory.size() && same_plan(memory[end], m)) ++end;
    text += fmt::format("  {}: weights {}, workspace {}, libraries {}, ", rank_range(begin, end), text_of(m.weights),
                        text_of(m.workspace), text_of(m.reserve));
    text += m.left() > 0 ? fmt::format("KV cache {}\n", text_of(m.left()))
                         : fmt::format("does not fit: {} more are needed\n", text_of(-m.left()));
  }
  const int64_t tokens = kv_tokens_of_job(topology, memory);
  text += fmt::format("  KV cache of the job: {} tokens, {} contexts of {}\n", tokens, tokens / config.max_positions,
                      config.max_positions);
  return text;
}

nlohmann::ordered_json memory_json(const MemoryPlan& m) {
  return {{"device_bytes", m.device},   {"weight_bytes", m.weights},  {"workspace_bytes", m.workspace},
          {"library_bytes", m.reserve}, {"kv_cache_bytes", m.left()}, {"kv_cache_tokens", m.kv_tokens()},
          {"fits", m.left() > 0}};
}

}  // namespace octet
