#include "runtime/session/rank_plan.h"

#include <algorithm>

#include "runtime/base/model_folder.h"
#include "runtime/model/kv_store.h"
#include "runtime/model/shard_weights.h"

namespace octet {
namespace {

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

constexpr WeightFormat kFormatOfAbsentWeights = DType::kBF16;

}  // namespace

int64_t kv_page_bytes(const ModelConfig& config, int tp, DType dtype) {
  return KvStoreShape{config.num_layers, 1, config.num_kv_heads / tp, config.head_dim, dtype}.page_bytes();
}

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
    const int64_t weight_bytes = checkpoint != nullptr
                                     ? shard_bytes(*checkpoint, shard)
                                     : matrix_bytes(kFormatOfAbsentWeights, 1, shard_parameters(c, shard));
    ranks.push_back({std::move(shard), weight_bytes, kv_page_bytes(c, topology.tp, kv_dtype) / kPageTokens});
  }
  return ranks;
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
