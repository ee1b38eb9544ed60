// --explain: how a model is laid out over ranks, and what its exchanges cost.
#pragma once

#include <string>

#include "parallel/row_layout_choice.h"
#include "parallel/topology.h"
#include "runtime/model/mixtral.h"

namespace octet {

// A few lines of text.
std::string explain_layout(const ModelConfig& config, const Topology& topology, const MixtralOptions& options,
                           const RowLayoutChooser& chooser);

}  // namespace octet
