// --explain: how a model is laid out over ranks, and what its exchanges cost.
#pragma once

#include <string>
#include <vector>

#include "parallel/row_layout_choice.h"
#include "parallel/topology.h"
#include "runtime/checkpoint/model_config.h"

namespace octet {

// "layout of 4 ranks: tp 4 x dp 1, …"
std::string layout_text(const Topology& topology);

// A few lines, without their ends.
std::vector<std::string> explain_layout(const ModelConfig& config, const Topology& topology,
                                        const std::vector<std::vector<int32_t>>& experts_of_place,
                                        const RowLayoutChooser& chooser, DType exchange_dtype);

}  // namespace octet
