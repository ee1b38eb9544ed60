// What one rank owns of a model: pure arithmetic.
#pragma once

#include <cstdint>
#include <vector>

#include "parallel/topology.h"

namespace octet {

// The w2 product is the sum of this many partials, over fixed slices of the ffn dimension.
inline constexpr int64_t kNumFfnSlices = 8;

// [begin, end)
struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const Range&) const = default;
};

// Part `index` of `parts` near-equal contiguous parts of [0, total): ⌊index·total/parts⌋ … ⌊(index+1)·total/parts⌋.
Range near_equal_part(int64_t total, int64_t parts, int64_t index);

// `parts` bounds of near-equal parts: [0, …, total], parts + 1 of them.
std::vector<int64_t> near_equal_bounds(int64_t total, int64_t parts);

struct ShardPlan {
  Range kv_heads;                // of attention; its query heads go with them
  Range vocabulary;              // rows of the LM head
  Range ffn_slices;              // of kNumFfnSlices, of every expert here
  Range ffn;                     // the same in elements of the ffn dimension
  std::vector<int32_t> experts;  // global ids of the experts here, ascending
};

// experts_of_place[i]: the experts dealt to place i (see expert_placement).
ShardPlan make_shard_plan(const Topology& topology, int rank, int64_t num_kv_heads, int64_t vocab_size,
                          int64_t ffn_size, const std::vector<std::vector<int32_t>>& experts_of_place);

}  // namespace octet
