#include "runtime/session/memory_plan.h"

#include <algorithm>

#include "parallel/expert_exchange_all_to_all.h"

namespace octet {
namespace {

// What an exchange brings to a rank, and the fp32 and int32 elements that it keeps for that.
struct ExchangeNeeds {
  int64_t assignments = 0;  // (row, expert) pairs that are computed here at the most
  int64_t elements = 0;
};

ExchangeNeeds sliced_needs(const ModelConfig& c, const Topology& t, const ShardPlan& shard,
                           const WorkspaceRequest& request) {
  if (!request.most_rows.sliced) return {};
  const auto local = std::ssize(shard.experts);
  const int64_t top_k = c.experts_per_token, here = std::min<int64_t>(top_k, local);
  const AllToAllExpertExchange::Capacity capacity({c.num_experts,
                                                   top_k,
                                                   c.hidden_size,
                                                   *request.most_rows.sliced,
                                                   {},
                                                   request.exchange_dtype,
                                                   request.gpu ? kLeastKeptRows : 0},
                                                  t, local);
  const bool narrow = request.exchange_dtype != DType::kF32;
  const int64_t sent = narrow ? capacity.sent / 2 : capacity.sent;
  const int64_t wire =
      narrow ? (std::max(capacity.mine, capacity.returned) + std::max(capacity.received, capacity.arrived)) / 2 : 0;
  const int64_t gathered = t.tp > 1 ? *request.most_rows.sliced : 0;  // rows that meet in attention
  const int64_t rows = gathered + sent + wire + capacity.received + capacity.returned + capacity.arrived;
  // Of what is received ids, weights and slots, those that were gathered and those that go home.
  const int64_t lists = capacity.received * (8 * top_k + here) + capacity.kept * (top_k + here) +
                        capacity.mine * 2 * top_k + std::max(capacity.sent, capacity.returned);
  return {capacity.received * here, rows * c.hidden_size + lists};
}

ExchangeNeeds replicated_needs(const ModelConfig& c, const Topology& t, const ShardPlan& shard,
                               const WorkspaceRequest& request) {
  if (!request.most_rows.replicated) return {};
  const int64_t top_k = c.experts_per_token, here = std::min<int64_t>(top_k, std::ssize(shard.experts));
  const int64_t most = *request.most_rows.replicated;
  const bool several = t.dp > t.replicas;  // dp groups that meet in an expert group
  const int64_t met = several ? most * (t.dp / t.replicas) : most;
  const int64_t wire = several && request.exchange_dtype != DType::kF32 ? (most + met) / 2 : 0;
  const int64_t gathered = several ? 2 * met * (c.hidden_size + top_k) : 0;
  return {met * here, wire * c.hidden_size + gathered + met * (top_k + here)};
}

}  // namespace

WorkspaceRequest workspace_request(const RowLayoutChooser& chooser, const StepLimits& limits, DType exchange_dtype) {
  return {.gpu = limits.captures,
          .max_rows = limits.rows,
          .max_logit_rows = limits.logit_rows,
          .most_rows = most_rows_of_steps(chooser, limits),
          .exchange_dtype = exchange_dtype};
}

int64_t workspace_bytes(const ModelConfig& c, const Topology& t, const ShardPlan& shard,
                        const WorkspaceRequest& request) {
  const ExchangeNeeds sliced = sliced_needs(c, t, shard, request);
  const ExchangeNeeds replicated = replicated_needs(c, t, shard, request);
  const int64_t assignments = std::max(sliced.assignments, replicated.assignments);
  const int64_t kv = shard.kv_heads.size() * c.head_dim;
  const int64_t query = kv * (c.num_heads / c.num_kv_heads);
  // Residual, normed and delta rows; q, k and v, attention's output, rotations and their frequencies; the router's
  // logits, weights and the choices of all layers; ids, positions and pages.
  const int64_t row = 3 * c.hidden_size + 2 * query + 2 * kv + c.head_dim + c.head_dim / 2 + 1 + c.num_experts +
                      (c.num_layers + 1) * c.experts_per_token + 2 + pages_for(c.max_positions);
  const int64_t logits = c.hidden_size + 1 + shard.vocabulary.size() + (t.world > 1 ? 2 * t.dp * c.vocab_size : 0);
  const int64_t elements = request.max_rows * row + sliced.elements + replicated.elements +
                           assignments * (shard.ffn.size() + c.hidden_size) + request.max_logit_rows * logits;
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
