// What the ranks of a job hold and send, as text and as JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "runtime/session/memory_plan.h"
#include "runtime/session/rank_plan.h"

namespace octet {

// The cells of a table's row and its heading, all but the rank's number: weights, KV cache, what is owned.
std::string rank_plan_heading();
std::string rank_plan_text(const RankPlan& rank);
nlohmann::ordered_json rank_plan_json(const RankPlan& rank);

nlohmann::ordered_json layout_json(const Topology& topology);

// Several lines about all ranks; those with the same plan share one.
std::string memory_text(const ModelConfig& config, const Topology& topology, const std::vector<MemoryPlan>& memory);
nlohmann::ordered_json memory_json(const MemoryPlan& memory);

}  // namespace octet
