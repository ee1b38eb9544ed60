#include "launcher/plan_text.h"

#include <fmt/ranges.h>

#include "runtime/base/human_bytes.h"

namespace octet {
namespace {

std::string range_text(const Range& range) {
  return range.size() == 0 ? "-" : fmt::format("{}-{}", range.begin, range.end - 1);
}

std::string text_of(int64_t bytes) { return human_bytes(static_cast<double>(bytes)); }

bool same_plan(const MemoryPlan& a, const MemoryPlan& b) {
  return a.weights == b.weights && a.workspace == b.workspace && a.kv_bytes_per_token == b.kv_bytes_per_token;
}

std::string rank_range(size_t begin, size_t end) {
  return end - begin == 1 ? fmt::format("rank {}", begin) : fmt::format("ranks {}-{}", begin, end - 1);
}

}  // namespace

std::string rank_plan_heading() {
  return fmt::format("{:<10} {:<11} {:<9} {:<11} experts", "weights", "KV a token", "KV heads", "ffn slices");
}

std::string rank_plan_text(const RankPlan& rank) {
  return fmt::format("{:<10} {:<11} {:<9} {:<11} {}", human_bytes(static_cast<double>(rank.weight_bytes)),
                     human_bytes(static_cast<double>(rank.kv_bytes_per_token)), range_text(rank.shard.kv_heads),
                     range_text(rank.shard.ffn_slices), fmt::join(rank.shard.experts, ","));
}

nlohmann::ordered_json rank_plan_json(const RankPlan& rank) {
  const auto range = [](const Range& r) { return nlohmann::ordered_json{r.begin, r.end}; };
  return {{"weight_bytes", rank.weight_bytes},
          {"kv_bytes_per_token", rank.kv_bytes_per_token},
          {"kv_heads", range(rank.shard.kv_heads)},
          {"ffn_slices", range(rank.shard.ffn_slices)},
          {"experts", rank.shard.experts}};
}

nlohmann::ordered_json layout_json(const Topology& t) {
  return {{"tp", t.tp}, {"dp", t.dp}, {"ep", t.ep}, {"etp", t.etp}, {"replicas", t.replicas}};
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
