#include "parallel/expert_placement.h"

#include <toml++/toml.h>

#include <algorithm>

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

std::vector<std::vector<int32_t>> place_experts_round_robin(int64_t num_experts, int num_places) {
  std::vector<std::vector<int32_t>> places(static_cast<size_t>(num_places));
  for (int32_t e = 0; e < num_experts; ++e) places[static_cast<size_t>(e % num_places)].push_back(e);
  return places;
}

std::vector<std::vector<int>> places_of_experts(const std::vector<std::vector<int32_t>>& experts_of_place,
                                                int64_t num_experts) {
  std::vector<std::vector<int>> places(static_cast<size_t>(num_experts));
  for (size_t place = 0; place < experts_of_place.size(); ++place) {
    for (const int32_t expert : experts_of_place[place]) {
      places[static_cast<size_t>(expert)].push_back(static_cast<int>(place));
    }
  }
  return places;
}

Result<std::vector<std::vector<int32_t>>> parse_placement(std::string_view text, int64_t num_experts, int num_places) {
  toml::table table;
  try {
    table = toml::parse(text);
  } catch (const toml::parse_error& error) {
    return invalid_input("line {}: {}", error.source().begin.line, error.description());
  }
  const toml::array* lists = table["places"].as_array();
  if (lists == nullptr || table.size() != 1) return invalid_input("places = [[…], …] is expected, and nothing else");
  if (std::ssize(*lists) != num_places) return invalid_input("{} places for a layout of {}", lists->size(), num_places);
  std::vector<std::vector<int32_t>> places;
  std::vector<bool> placed(static_cast<size_t>(num_experts));
  for (const toml::node& list : *lists) {
    if (!list.is_array()) return invalid_input("place {}: not a list of experts", places.size());
    std::vector<int32_t>& experts = places.emplace_back();
    for (const toml::node& entry : *list.as_array()) {
      const int64_t expert = entry.value_exact<int64_t>().value_or(-1);
      if (expert < 0 || expert >= num_experts) {
        return invalid_input("place {}: an expert is a number from 0 to {}", places.size() - 1, num_experts - 1);
      }
      experts.push_back(static_cast<int32_t>(expert));
      placed[static_cast<size_t>(expert)] = true;
    }
    std::sort(experts.begin(), experts.end());
    if (std::adjacent_find(experts.begin(), experts.end()) != experts.end()) {
      return invalid_input("place {}: an expert stands there twice", places.size() - 1);
    }
  }
  const auto missing = std::find(placed.begin(), placed.end(), false);
  if (missing != placed.end()) return invalid_input("expert {} has no place", missing - placed.begin());
  return places;
}

}  // namespace octet
