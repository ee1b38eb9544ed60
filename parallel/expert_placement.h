// Which place owns which experts: pure arithmetic.
#pragma once

#include <cstdint>
#include <vector>

namespace octet {

// The experts of each of `num_places` places, ascending. Linear: contiguous near-equal runs.
std::vector<std::vector<int32_t>> place_experts_linear(int64_t num_experts, int num_places);

}  // namespace octet
