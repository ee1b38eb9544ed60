// Which row layout a step uses, and what the layouts cost.
#include "parallel/row_layout_choice.h"

#include <gmock/gmock.h>

namespace octet {
namespace {

constexpr int64_t kExperts = 8, kHidden = 4096, kElementBytes = 4;

std::vector<Topology> layouts() {
  std::vector<Topology> layouts;
  for (const int world : {1, 2, 3, 4, 6, 8, 16}) {
    for (const int tp : {1, 2, 4, 8}) {
      for (const int etp : {1, 2, 4, 8}) {
        for (int ep = 1; ep <= 8; ++ep) {
          const auto topology = make_topology({.world = world, .tp = tp, .ep = ep, .etp = etp}, {8, kExperts});
          if (topology.ok()) layouts.push_back(*topology);
        }
      }
    }
  }
  return layouts;
}

double cost_of(RowLayoutKind kind, const Topology& topology, int64_t rows) {
  const RowLayoutCost cost = row_layout_cost(kind, topology, kExperts, 2, kHidden, kElementBytes);
  return cost.num_messages * kSecondsPerMessage + cost.bytes_per_row() * static_cast<double>(rows) * kSecondsPerByte;
}

TEST(RowLayoutChoice, AutoTakesTheCheaperLayoutAndChangesItsMindOnce) {
  for (const Topology& topology : layouts()) {
    const auto chooser = RowLayoutChooser::create(ExchangePolicy::kAuto, topology, kExperts, 2, kHidden, kElementBytes);
    ASSERT_TRUE(chooser.ok());
    bool sliced = false;
    for (int64_t rows = 1; rows <= 4096; ++rows) {
      const bool now = chooser->choose(rows) == RowLayoutKind::kSliced;
      EXPECT_GE(now, sliced);
      sliced = now;
      const double margin =
          cost_of(RowLayoutKind::kSliced, topology, rows) - cost_of(RowLayoutKind::kReplicated, topology, rows);
      if (now) {
        EXPECT_LE(margin, 1e-12) << rows << " rows";
      } else {
        EXPECT_GE(margin, -1e-12) << rows << " rows";
      }
    }
  }
}

TEST(RowLayoutChoice, OneRankExchangesNothing) {
  for (const RowLayoutKind kind : {RowLayoutKind::kSliced, RowLayoutKind::kReplicated}) {
    const RowLayoutCost cost = row_layout_cost(kind, Topology{}, kExperts, 2, kHidden, kElementBytes);
    EXPECT_EQ(cost.num_messages, 0);
    EXPECT_EQ(cost.bytes_per_row(), 0);
  }
}

// The closed forms for p ranks that share attention and experts alike, bytes a row and rank.
TEST(RowLayoutChoice, BytesAreTheClosedFormsOfTheLiterature) {
  for (const int p : {2, 4, 8}) {
    const Topology topology{p, p, 1, p, 1, 1};
    for (const int64_t bytes : {2, 4}) {
      const double exchanged = static_cast<double>(kHidden * bytes), fp32 = static_cast<double>(kHidden) * 4;
      const double owned = 8.0 / p;
      const double without = (8 - owned) / 8 * std::max(0.0, (7 - owned) / 7);  // C(E - E/p, 2) / C(E, 2)
      const double each_way = 1.0 / p * (p - 1) * (1 - without) * exchanged;
      const RowLayoutCost sliced = row_layout_cost(RowLayoutKind::kSliced, topology, 8, 2, kHidden, bytes);
      EXPECT_NEAR(sliced.bytes_per_row(), 2.0 * (p - 1) / p * fp32 + 2 * each_way, 1e-6);
      const RowLayoutCost replicated = row_layout_cost(RowLayoutKind::kReplicated, topology, 8, 2, kHidden, bytes);
      EXPECT_NEAR(replicated.bytes_per_row(), 4.0 * (p - 1) / p * fp32, 1e-6);
    }
  }
}

// With three experts a row all of its products travel home alone.
TEST(RowLayoutChoice, MoreThanTwoExpertsSendEveryProductHome) {
  const Topology topology{4, 4, 1, 4, 1, 1};
  const RowLayoutCost cost = row_layout_cost(RowLayoutKind::kSliced, topology, 8, 3, kHidden, 4);
  const double row = kHidden * 4.0, without = 6.0 / 8 * 5.0 / 7 * 4.0 / 6;
  EXPECT_NEAR(cost.bytes_per_row(), 2 * 0.75 * row + 0.75 * (1 - without) * row + 3 * 0.25 * 0.75 * row, 1e-6);
}

// Ranks that share all experts complete two products a row among them.
TEST(RowLayoutChoice, SharedPlacesCompleteEveryProductInFp32) {
  for (const int p : {2, 4, 8}) {
    const Topology topology{p, p, 1, 1, p, 1};
    const double all_reduce = 2.0 * (p - 1) / p * kHidden * 4;
    const RowLayoutCost cost = row_layout_cost(RowLayoutKind::kReplicated, topology, 8, 2, kHidden, 2);
    EXPECT_NEAR(cost.attention_bytes, all_reduce, 1e-6);
    EXPECT_NEAR(cost.expert_reduce_bytes, 2 * all_reduce, 1e-6);
    EXPECT_EQ(cost.dispatch_bytes + cost.combine_bytes, 0);
  }
}

TEST(RowLayoutChoice, PolicyOverridesTheCosts) {
  const Topology topology{2, 2, 1, 2, 1, 1};
  const auto choose = [&](ExchangePolicy policy, int64_t rows) {
    return RowLayoutChooser::create(policy, topology, kExperts, 2, kHidden, kElementBytes)->choose(rows);
  };
  for (const int64_t rows : {0, 1, 100000}) {
    EXPECT_EQ(choose(ExchangePolicy::kAllToAll, rows), RowLayoutKind::kSliced);
    EXPECT_EQ(choose(ExchangePolicy::kReplicated, rows), RowLayoutKind::kReplicated);
  }
}

// Both layouts where steps of either can occur; the rows of each are those that choose() gives it.
TEST(RowLayoutChoice, TheMostRowsOfALayoutAreTheMostThatChooseIt) {
  const Topology topology{.world = 2, .tp = 2, .ep = 2};
  const auto automatic = RowLayoutChooser::create(ExchangePolicy::kAuto, topology, kExperts, 2, kHidden, kElementBytes);
  ASSERT_TRUE(automatic.ok() && automatic->threshold());
  const int64_t threshold = *automatic->threshold();
  ASSERT_GT(threshold, 1);
  for (const ExchangePolicy policy : {ExchangePolicy::kAuto, ExchangePolicy::kAllToAll, ExchangePolicy::kReplicated}) {
    const auto chooser = RowLayoutChooser::create(policy, topology, kExperts, 2, kHidden, kElementBytes);
    for (const int64_t max_rows : {int64_t{1}, threshold - 1, threshold, threshold + 1, 4 * threshold}) {
      MostRows expected;
      for (int64_t rows = 0; rows <= max_rows; ++rows) {
        (chooser->choose(rows) == RowLayoutKind::kSliced ? expected.sliced : expected.replicated) = rows;
      }
      EXPECT_EQ(chooser->most_rows(max_rows), expected) << "at most " << max_rows;
    }
  }
}

TEST(RowLayoutChoice, ReplicatedIsNotOfferedForMoreThanTwoExpertsOverPlaces) {
  const Topology several{2, 2, 1, 2, 1, 1}, one{2, 2, 1, 1, 2, 1};
  const auto refused = RowLayoutChooser::create(ExchangePolicy::kReplicated, several, kExperts, 3, kHidden, 4);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), StatusCode::kInvalidInput);
  EXPECT_TRUE(RowLayoutChooser::create(ExchangePolicy::kReplicated, one, kExperts, 3, kHidden, 4).ok());
  const auto chooser = RowLayoutChooser::create(ExchangePolicy::kAuto, several, kExperts, 3, kHidden, 4);
  ASSERT_TRUE(chooser.ok());
  EXPECT_EQ(chooser->choose(1), RowLayoutKind::kSliced);
}

}  // namespace
}  // namespace octet
