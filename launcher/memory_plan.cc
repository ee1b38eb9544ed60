#include "launcher/memory_plan.h"

#include <algorithm>

#include "parallel/expert_exchange_all_to_all.h"
#include "runtime/base/byte_text.h"

namespace octet {
namespace {

std::string text_of(int64_t bytes) { return human_bytes(static_cast<double>(bytes)); }

bool same_plan(const MemoryPlan& a, const MemoryPlan& b) {
  return a.weights == b.weights && a.workspace == b.workspace && a.kv_bytes_per_token == b.kv_bytes_per_token;
}

std::string rank_range(size_t begin, size_t end) {
  return end - begin == 1 ? fmt::format("rank {}", begin) : fmt::format("ranks {}-{}", begin, end - 1);
}

}  // namespace

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
