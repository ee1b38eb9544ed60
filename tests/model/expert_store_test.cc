// A layer is given its own experts, in the order of the groups.
#include "runtime/model/expert_store.h"

#include <gtest/gtest.h>

namespace octet {
namespace {

TEST(ExpertStore, GivesALayerItsOwnExperts) {
  constexpr int64_t kLayers = 3, kExperts = 2;
  std::vector<ExpertWeights> layers(kLayers);
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    for (int64_t e = 0; e < kExperts; ++e) {
      Weight& up = layers[static_cast<size_t>(layer)].gate_up.weights.emplace_back();
      up.gated = true;
      up.num_outputs = 10 * layer + e;
      layers[static_cast<size_t>(layer)].down.weights.emplace_back().num_inputs = 10 * layer + e;
    }
  }
  ExpertStore store(std::move(layers));
  HostStream stream;
  for (const int64_t layer : {2, 0, 1, 1}) {
    const ExpertWeights& experts = store.acquire(layer, {}, stream);
    ASSERT_EQ(std::ssize(experts.gate_up.weights), kExperts);
    ASSERT_EQ(std::ssize(experts.down.weights), kExperts);
    for (int64_t e = 0; e < kExperts; ++e) {
      EXPECT_TRUE(experts.gate_up.weights[static_cast<size_t>(e)].gated);
      EXPECT_EQ(experts.gate_up.weights[static_cast<size_t>(e)].num_outputs, 10 * layer + e);
      EXPECT_EQ(experts.down.weights[static_cast<size_t>(e)].num_inputs, 10 * layer + e);
    }
  }
}

}  // namespace
}  // namespace octet
