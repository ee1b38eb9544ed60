#include "bench/step_cost.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "tests/bench/mixtral_config.h"

namespace octet {
namespace {

TEST(StepCost, DistinctExpertsAreTheMeanOfUniformDraws) {
  const ModelConfig config = mixtral_config(4);
  EXPECT_DOUBLE_EQ(expected_distinct_experts(config, 1), 2);
  std::mt19937 random(11);
  for (const int64_t rows : {2, 8, 16}) {
    double sum = 0;
    constexpr int kDraws = 20000;
    for (int draw = 0; draw < kDraws; ++draw) {
      std::set<uint32_t> touched;
      for (int64_t row = 0; row < rows; ++row) {
        const uint32_t first = static_cast<uint32_t>(random() % 8);
        touched.insert(first);
        touched.insert(static_cast<uint32_t>((first + 1 + random() % 7) % 8));
      }
      sum += static_cast<double>(touched.size());
    }
    EXPECT_NEAR(expected_distinct_experts(config, rows), sum / kDraws, 0.05);
  }
}

TEST(StepCost, OneStreamReadsAndMultipliesTheActiveWeights) {
  const ModelConfig config = mixtral_config(4);
  const StepCost cost = decode_cost(config, 1, 0, 2, 4);
  // All but the embedding and the norms, a row of the embedding, and the token's own key and value.
  const double weights = static_cast<double>(config.num_active_parameters() - config.vocab_size * config.hidden_size -
                                             (2 * config.num_layers + 1) * config.hidden_size);
  EXPECT_NEAR(cost.bytes, 2 * (weights + 4096) + 2 * 4 * 1024 * 4, 1);
  EXPECT_NEAR(cost.operations, 2 * weights + 4 * 4096 * 4, 1);
}

TEST(StepCost, PrefillLeavesOutTheLastExpertsOfAllRowsButOne) {
  const ModelConfig config = mixtral_config(4);
  const StepCost cost = prefill_cost(config, 512, 512, 2, 4);
  // A layer: 41.9 M weights of attention, 352.3 M of two experts; attention over 256.5 keys in the mean.
  const double attention = 2.0 * 4096 * (4096 + 1024);
  const double experts = 2.0 * 3 * 4096 * 14336 + 8 * 4096;
  const double rows = 2 * (4 * attention + 3 * experts) + 4 * 256.5 * 4096 * 4;
  EXPECT_NEAR(cost.operations, 512 * rows + 2 * (experts + 32000.0 * 4096), 1e3);
}

TEST(StepCost, ChunksReadTheWeightsAgainAndComputeTheSame) {
  const ModelConfig config = mixtral_config(4);
  const StepCost whole = prefill_cost(config, 512, 512, 2, 4);
  const StepCost halves = prefill_cost(config, 512, 256, 2, 4);
  EXPECT_NEAR(halves.operations, whole.operations, 1e-9 * whole.operations);
  // Once more all but the last layer's experts and the head, and the first half's keys and values.
  const double attention = 2.0 * 4096 * (4096 + 1024);
  const double all_experts = 8 * 3.0 * 4096 * 14336 + 8 * 4096;
  const double again = 2 * (4 * attention + 3 * all_experts) + 256 * 2.0 * 4 * 1024 * 4;
  EXPECT_NEAR(halves.bytes - whole.bytes, again, 1e-3 * again);
}

TEST(StepCost, AWindowBoundsTheKeys) {
  ModelConfig config = mixtral_config(4);
  const StepCost all = decode_cost(config, 4, 5000, 2, 4);
  config.sliding_window = 100;
  const StepCost window = decode_cost(config, 4, 5000, 2, 4);
  EXPECT_NEAR(all.bytes - window.bytes, 4 * (5001 - 100) * 2.0 * 4 * 1024 * 4, 1);
}

}  // namespace
}  // namespace octet
