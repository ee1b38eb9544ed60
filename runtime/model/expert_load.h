// What a model tells of itself from time to time: how its tokens were spread over the experts, which exchange its steps
// used, and how long its ranks waited for each other.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "parallel/step_rows.h"

namespace octet {

// How many tokens each expert of each layer has been given.
class ExpertLoad {
 public:
  ExpertLoad() = default;
  ExpertLoad(int64_t num_layers, int64_t num_experts)
      : num_experts_(num_experts), tokens_(static_cast<size_t>(num_layers * num_experts)) {}

  int64_t num_layers() const { return num_experts_ == 0 ? 0 : std::ssize(tokens_) / num_experts_; }
  int64_t num_experts() const { return num_experts_; }
  int64_t tokens(int64_t layer, int64_t expert) const {
    return tokens_[static_cast<size_t>(layer * num_experts_ + expert)];
  }
  // [num_layers · num_experts]
  std::span<const int64_t> all() const { return tokens_; }

  void clear() { std::fill(tokens_.begin(), tokens_.end(), 0); }
  // One token for each of these experts of a layer.
  void add(int64_t layer, std::span<const int32_t> experts);
  // As many numbers as all() has.
  void add(std::span<const int64_t> tokens);

 private:
  int64_t num_experts_ = 0;
  std::vector<int64_t> tokens_;
};

// Of all ranks since the model was loaded.
struct ModelTotals {
  ExpertLoad expert_load = {};
  std::array<int64_t, 2> steps_of_layout = {};  // by RowLayoutKind
  std::vector<double> wait_seconds = {};        // [world]: inside collectives
};

}  // namespace octet
