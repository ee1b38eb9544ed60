#include "parallel/expert_placement.h"

#include "parallel/shard_plan.h"

namespace octet {

std::vector<std::vector<int32_t>> place_experts_linear(int64_t num_experts, int num_places) {
  std::vector<std::vector<int32_t>> places(static_cast<size_t>(num_places));
  for (int place = 0; place < num_places; ++place) {
    const Range range = near_equal_part(num_experts, num_places, place);
    for (int64_t e = range.begin; e < range.end; ++e)
      places[static_cast<size_t>(place)].push_back(static_cast<int32_t>(e));
  }
  return places;
}

}  // namespace octet
