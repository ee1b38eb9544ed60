// ExpertStore: where a rank's experts are. A layer asks for those of its rows before each product and takes their
// addresses from the answer alone. All of them are in the device's memory and stay where they are: a captured step
// (Backend::capture) goes on using the addresses that it was captured with.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "runtime/model/shard_weights.h"

namespace octet {

class ExpertStore {
 public:
  // [layers]; none: nothing is loaded.
  explicit ExpertStore(std::vector<ExpertWeights> layers = {}) : layers_(std::move(layers)) {}

  // By local expert, as ExpertGroups counts them.
  struct Experts {
    std::span<const Weight> gate_up;
    std::span<const Weight> down;
  };
  // The experts of a layer that `groups` have rows for; the others need not be there. For what is enqueued on the
  // stream before the next acquire.
  Experts acquire(int64_t layer, const ExpertGroups& /*groups*/, Stream& /*stream*/) {
    OCTET_CHECK(layer >= 0 && layer < std::ssize(layers_), "layer {} of {}", layer, layers_.size());
    const ExpertWeights& experts = layers_[static_cast<size_t>(layer)];
    return {experts.gate_up, experts.down};
  }

 private:
  std::vector<ExpertWeights> layers_;
};

}  // namespace octet
