#include "launcher/rank_plan.h"

#include <algorithm>

#include "launcher/model_options.h"
#include "runtime/base/byte_text.h"
#include "runtime/base/model_folder.h"
#include "runtime/model/shard_weights.h"

namespace octet {
namespace {

std::string range_text(const Range& range) {
  return range.size() == 0 ? "-" : fmt::format("{}-{}", range.begin, range.end - 1);
}

// Whether the folder has anything that could hold weights, in whatever format.
bool has_weight_files(const std::filesystem::path& folder) {
  constexpr std::string_view kEndings[] = {".safetensors", ".index.json", ".bin", ".pt", ".pth"};
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (std::ranges::any_of(kEndings, [&](std::string_view ending) { return name.ends_with(ending); })) return true;
  }
  return false;
}

constexpr int64_t kBytesOfAbsentWeight = 2;

}  // namespace

Result<PlannedModel> open_planned_model(const std::filesystem::path& folder) {
  OCTET_ASSIGN_OR_RETURN(const std::filesystem::path resolved, resolve_model_folder(folder));
  if (has_weight_files(resolved)) {
    OCTET_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::open(folder));
    ModelConfig config = checkpoint.config();
    return PlannedModel{std::move(config), std::move(checkpoint)};
  }
  OCTET_ASSIGN_OR_RETURN(ModelConfig config, read_model_config(folder));
  return PlannedModel{std::move(config), std::nullopt};
}

std::vector<RankPlan> plan_ranks(const ModelConfig& c, const Checkpoint* checkpoint, const Topology& topology,
                                 const std::vector<std::vector<int32_t>>& experts_of_place, DType kv_dtype) {
  std::vector<RankPlan> ranks;
  for (int rank = 0; rank < topology.world; ++rank) {
    ShardPlan shard =
        make_shard_plan(topology, rank, c.num_kv_heads, c.vocab_size, c.intermediate_size, experts_of_place);
    const int64_t weight_bytes =
        checkpoint != nullptr ? shard_bytes(*checkpoint, shard) : shard_parameters(c, shard) * kBytesOfAbsentWeight;
    ranks.push_back({std::move(shard), weight_bytes, kv_page_bytes(c, topology.tp, kv_dtype) / kPageTokens});
  }
  return ranks;
}

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

std::string layout_text(const Topology& t) {
  const auto s = [](int count) { return count > 1 ? "s" : ""; };
  return fmt::format("layout of {} rank{}: tp {} x dp {}, ep {} x etp {} x {} replica{}", t.world, s(t.world), t.tp,
                     t.dp, t.ep, t.etp, t.replicas, s(t.replicas));
}

nlohmann::ordered_json layout_json(const Topology& t) {
  return {{"tp", t.tp}, {"dp", t.dp}, {"ep", t.ep}, {"etp", t.etp}, {"replicas", t.replicas}};
}

std::vector<StepTraffic> plan_traffic(const ModelConfig& config, const Topology& topology,
                                      const RowLayoutChooser& chooser, DType exchange_dtype, int64_t prefill_chunk) {
  std::vector<StepTraffic> steps;
  for (const auto& [phase, rows] : {std::pair("prefill", prefill_chunk), std::pair("decode", int64_t{1})}) {
    const RowLayoutKind layout = chooser.choose(rows);
    const RowLayoutCost cost = row_layout_cost(layout, topology, config.num_experts, config.experts_per_token,
                                               config.hidden_size, dtype_size(exchange_dtype));
    steps.push_back(
        {phase, rows, layout, cost.num_messages, cost.bytes_per_row() * static_cast<double>(config.num_layers)});
  }
  return steps;
}

}  // namespace octet
