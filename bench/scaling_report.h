// The lines of the scaling benchmark, as a table or as JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench/scaled_model.h"
#include "runtime/checkpoint/model_config.h"

namespace octet {

// One workload on one layout.
struct ScalingLine {
  Workload workload;
  ScaledLayout layout;
  RowLayoutKind row_layout = RowLayoutKind::kReplicated;  // that its steps use
  std::vector<double> seconds = {};                       // of the work, one a round
  WorkCost cost = {};                                     // of all rounds, the mean of the layout's ranks
  double efficiency = 1;                                  // see bench/README.md
};

// Bytes that a rank sends for each token, by what for.
struct BytesPerToken {
  double attention = 0, dispatch = 0, expert_reduce = 0, combine = 0;
};

BytesPerToken measured_bytes(const ScalingLine& line);
// The cost model's, uniform routing assumed.
BytesPerToken expected_bytes(const ScalingLine& line, const ModelConfig& config, int64_t element_bytes);

std::string scaling_table(const std::vector<ScalingLine>& lines, const ModelConfig& config, int64_t element_bytes);
nlohmann::ordered_json scaling_json(const std::vector<ScalingLine>& lines, const ModelConfig& config,
                                    int64_t element_bytes);

}  // namespace octet
