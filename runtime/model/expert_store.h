// ExpertStore: where a rank's experts are. A layer asks for those of its rows before each product and takes their
// addresses from the answer alone. Today all of them are in the device's memory and stay where they are. Where one is
// to move, Backend::replace says so to what was enqueued or captured before.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "runtime/model/shard_weights.h"

namespace octet {

class ExpertStore {
 public:
  // [layers]; none: nothing is loaded.
  explicit ExpertStore(std::vector<ExpertWeights> layers = {}) : layers_(std::move(layers)) {}

  // The experts of a layer, by local expert as ExpertGroups counts them: those that `groups` have rows for, the others
  // need not be there. For what is enqueued on the
  // stream before the next acquire.
  const ExpertWeights& acquire(int64_t layer, const ExpertGroups& /*groups*/, Stream& /*stream*/) {
    OCTET_CHECK(layer >= 0 && layer < std::ssize(layers_), "layer {} of {}", layer, layers_.size());
    return layers_[static_cast<size_t>(layer)];
  }

 private:
  std::vector<ExpertWeights> layers_;
};

}  // namespace octet
