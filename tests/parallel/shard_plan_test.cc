// What a rank owns: all ranks together own everything once, in parts that are nodes of the reduction tree.
#include "parallel/shard_plan.h"

#include <gtest/gtest.h>

#include <set>

#include "parallel/expert_placement.h"

namespace octet {
namespace {

TEST(NearEqualPart, PartsCoverTheWholeInOrderAndDifferByOne) {
  for (int64_t total = 0; total <= 70; ++total) {
    for (int64_t parts = 1; parts <= 17; ++parts) {
      const std::vector<int64_t> bounds = near_equal_bounds(total, parts);
      ASSERT_EQ(std::ssize(bounds), parts + 1);
      EXPECT_EQ(bounds.front(), 0);
      EXPECT_EQ(bounds.back(), total);
      for (int64_t i = 0; i < parts; ++i) {
        const Range part = near_equal_part(total, parts, i);
        EXPECT_EQ(part, (Range{bounds[static_cast<size_t>(i)], bounds[static_cast<size_t>(i + 1)]}));
        EXPECT_GE(part.size(), total / parts);
        EXPECT_LE(part.size(), (total + parts - 1) / parts);
        // The last part of a division is never the smaller one: buffers are sized by it.
        EXPECT_LE(part.size(), near_equal_part(total, parts, parts - 1).size());
      }
    }
  }
}

// Ranges that a midpoint tree over [0, total) sums on their own.
std::set<std::pair<int64_t, int64_t>> tree_nodes(int64_t begin, int64_t end) {
  std::set<std::pair<int64_t, int64_t>> nodes{{begin, end}};
  if (end - begin <= 1) return nodes;
  const int64_t middle = (begin + end) / 2;
  nodes.merge(tree_nodes(begin, middle));
  nodes.merge(tree_nodes(middle, end));
  return nodes;
}

class ShardPlanTest : public testing::TestWithParam<int> {};

TEST_P(ShardPlanTest, RanksOfAGroupOwnEverythingOnceInNodesOfTheTree) {
  const int world = GetParam();
  constexpr int64_t kKvHeads = 8, kVocabulary = 32002, kExperts = 8;
  for (const int64_t ffn : {3, 100, 14336}) {
    for (const int tp : {1, 2, 4, 8}) {
      for (const int etp : {1, 2, 4, 8}) {
        const auto topology = make_topology({.world = world, .tp = tp, .etp = etp}, {kKvHeads, kExperts});
        if (!topology.ok()) continue;
        const auto places = place_experts_linear(kExperts, topology->ep);
        std::vector<int> heads(kKvHeads), words(kVocabulary), ffn_of_experts(static_cast<size_t>(kExperts * ffn));
        for (int rank = 0; rank < world; ++rank) {
          const ShardPlan plan = make_shard_plan(*topology, rank, kKvHeads, kVocabulary, ffn, places);
          for (int64_t i = plan.kv_heads.begin; i < plan.kv_heads.end; ++i) ++heads[static_cast<size_t>(i)];
          for (int64_t i = plan.vocabulary.begin; i < plan.vocabulary.end; ++i) ++words[static_cast<size_t>(i)];
          for (const int32_t expert : plan.experts) {
            for (int64_t i = plan.ffn.begin; i < plan.ffn.end; ++i) {
              ++ffn_of_experts[static_cast<size_t>(expert * ffn + i)];
            }
          }
          EXPECT_TRUE(tree_nodes(0, kKvHeads).contains({plan.kv_heads.begin, plan.kv_heads.end}));
          EXPECT_TRUE(tree_nodes(0, kNumFfnSlices).contains({plan.ffn_slices.begin, plan.ffn_slices.end}));
          EXPECT_EQ(plan.ffn.begin, plan.ffn_slices.begin * ffn / kNumFfnSlices);
          EXPECT_EQ(plan.ffn.end, plan.ffn_slices.end * ffn / kNumFfnSlices);
        }
        EXPECT_EQ(heads, std::vector<int>(kKvHeads, topology->dp));
        EXPECT_EQ(words, std::vector<int>(kVocabulary, topology->dp));
        EXPECT_EQ(ffn_of_experts, std::vector<int>(ffn_of_experts.size(), topology->replicas));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Worlds, ShardPlanTest, testing::Values(1, 2, 3, 4, 6, 8, 16));

}  // namespace
}  // namespace octet
