// Which place owns which experts: pure arithmetic.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"

namespace octet {

// The experts of each of `num_places` places, ascending. Linear: contiguous near-equal runs. Round-robin: expert e at
// place e % num_places.
std::vector<std::vector<int32_t>> place_experts_linear(int64_t num_experts, int num_places);
std::vector<std::vector<int32_t>> place_experts_round_robin(int64_t num_experts, int num_places);

// The places that own each expert, ascending: [num_experts].
std::vector<std::vector<int>> places_of_experts(const std::vector<std::vector<int32_t>>& experts_of_place,
                                                int64_t num_experts);

// An explicit placement, from TOML text: `places = [[0, 1], [2, 3, 0], …]`, one list of experts a place. An expert may
// stand in several places (replicas of a hot expert). kInvalidInput: not such a text, another number of places, an
// unknown expert, an expert twice in a place, or one that is nowhere.
Result<std::vector<std::vector<int32_t>>> parse_placement(std::string_view toml, int64_t num_experts, int num_places);

}  // namespace octet
