#include "runtime/model/counter_rng.h"

#include <gtest/gtest.h>

#include <set>

namespace octet {
namespace {

using Block = std::array<uint32_t, 4>;

// Known answers published with the reference implementation (Random123, kat_vectors).
TEST(CounterRng, PhiloxGivesTheKnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(CounterRng, RandomBitsAreDistinctAndEvenlySpread) {
  std::set<double> seen;
  double sum = 0.0;
  double sum_of_squares = 0.0;
  constexpr int kPerIndex = 20;
  for (uint64_t seed = 0; seed < kPerIndex; ++seed) {
    for (int64_t sample = 0; sample < kPerIndex; ++sample) {
      for (int64_t output = 0; output < kPerIndex; ++output) {
        // High words, too, must reach the counter and the key.
        const double draw = static_cast<double>(random_bits(seed << 40, sample, output << 33)) * 0x1p-64;
        seen.insert(draw);
        sum += draw;
        sum_of_squares += draw * draw;
      }
    }
  }
  constexpr int kDraws = kPerIndex * kPerIndex * kPerIndex;
  EXPECT_EQ(seen.size(), static_cast<size_t>(kDraws));
  EXPECT_NEAR(sum / kDraws, 0.5, 0.015);
  EXPECT_NEAR(sum_of_squares / kDraws, 1.0 / 3.0, 0.015);
}

}  // namespace
}  // namespace octet
