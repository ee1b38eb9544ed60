// What the ranks of a layout hold and send: arithmetic over a checkpoint's header, before anything is loaded.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "parallel/row_layout_choice.h"
#include "parallel/shard_plan.h"
#include "runtime/checkpoint/checkpoint.h"

namespace octet {

// Bytes of a page of the KV cache on a rank with a tp-th of the KV heads.
int64_t kv_page_bytes(const ModelConfig& config, int tp, DType dtype);

struct RankPlan {
  ShardPlan shard;
  int64_t weight_bytes = 0;        // of the checkpoint's files that the rank reads
  int64_t kv_bytes_per_token = 0;  // in all layers
};

// A model to plan for: a checkpoint, or only the configuration of one.
struct PlannedModel {
  ModelConfig config;
  std::optional<Checkpoint> checkpoint;  // none: its weights are not there
};

Result<PlannedModel> open_planned_model(const std::filesystem::path& folder);

// Of every rank of the layout. checkpoint: null where there are no weights; then they count as 16 bits each.
std::vector<RankPlan> plan_ranks(const ModelConfig& config, const Checkpoint* checkpoint, const Topology& topology,
                                 const std::vector<std::vector<int32_t>>& experts_of_place, DType kv_dtype);

// What a kind of step moves.
struct StepTraffic {
  std::string phase;  // "prefill", "decode"
  int64_t rows = 0;   // of one dp group
  RowLayoutKind layout = RowLayoutKind::kReplicated;
  int rounds_per_layer = 0;    // in which a rank waits for others
  double bytes_per_token = 0;  // sent by a rank in all layers, with uniform routing
};

// Of a full prefill chunk and of one decoded token.
std::vector<StepTraffic> plan_traffic(const ModelConfig& config, const Topology& topology,
                                      const RowLayoutChooser& chooser, DType exchange_dtype, int64_t prefill_chunk);

}  // namespace octet
