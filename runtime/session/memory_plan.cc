#include "runtime/session/memory_plan.h"

#include <algorithm>

#include "parallel/expert_exchange_all_to_all.h"

namespace octet {
int64_t workspace_bytes(const ModelConfig& c, const Topology& t, const ShardPlan& shard,
                        const WorkspaceRequest& request) {
  const auto local = std::ssize(shard.experts);
  const AllToAllExpertExchange::Capacity exchange({c.num_experts,
                                                   c.experts_per_token,
                                                   c.hidden_size,
                                                   request.max_rows,
                                                   {},
                                                   DType::kF32,
                                                   request.gpu ? kLeastKeptRows : 0},
                                                  t, local);
  // Rows that meet in an expert group, and (row, expert) pairs of them that are computed here at the most.
  const int64_t gathered = t.dp > t.replicas ? request.max_rows * (t.dp / t.replicas) : 0;
  const int64_t met = std::max({request.max_rows, gathered, exchange.received});
  const int64_t assignments = met * std::min<int64_t>(c.experts_per_token, local);
  const int64_t kv = shard.kv_heads.size() * c.head_dim;
  const int64_t query = kv * (c.num_heads / c.num_kv_heads);
  // Residual, normed and delta rows and what the tp group gathers of them; q, k and v, attention's output, rotations;
  // the router's logits, the choices of all layers, pages.
  const int64_t row = (t.tp > 1 ? 4 : 3) * c.hidden_size + 2 * query + 2 * kv + c.head_dim + c.num_experts +
                      c.num_layers * c.experts_per_token + c.max_positions / kPageTokens;
  const int64_t exchanged = exchange.sent + exchange.received + exchange.returned + exchange.arrived + 2 * gathered;
  const int64_t logits = c.hidden_size + shard.vocabulary.size() + (t.world > 1 ? 2 * t.dp * c.vocab_size : 0);
  constexpr int64_t kChoiceLists = 20;  // that the exchanges keep
  const int64_t elements = request.max_rows * row + exchanged * c.hidden_size +
                           kChoiceLists * c.experts_per_token * met + assignments * (shard.ffn.size() + c.hidden_size) +
                           request.max_logit_rows * logits;
  // Operands and results of products in 16 bits, kept in areas of up to twice the size.
  const int64_t narrow = assignments * (std::max(c.hidden_size, shard.ffn.size()) + 2 * shard.ffn.size());
  return 4 * elements + (request.gpu ? 2 * 2 * narrow : 0);
}

int64_t library_reserve(int64_t device_bytes) { return device_bytes / 20; }

int64_t host_reserve(int64_t available_bytes) { return available_bytes / 20 + (int64_t{48} << 20); }

std::vector<MemoryPlan> plan_memory(const ModelConfig& config, const Topology& topology,
                                    const std::vector<RankPlan>& ranks, int64_t device_bytes,
                                    const WorkspaceRequest& request) {
  std::vector<MemoryPlan> plans;
  for (const RankPlan& rank : ranks) {
    plans.push_back({.device = device_bytes,
                     .weights = rank.weight_bytes,
                     .workspace = workspace_bytes(config, topology, rank.shard, request),
                     .reserve = request.gpu ? library_reserve(device_bytes) : host_reserve(device_bytes),
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
