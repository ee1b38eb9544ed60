// What every rank believes of a step's rows, taken together: each row is kept and brought as its layout says, and all
// ranks agree.
#include "parallel/step_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

namespace octet {
namespace {

struct Groups {
  std::vector<int64_t> num_rows;             // [dp]
  std::vector<std::vector<int32_t>> wanted;  // [dp]

  std::vector<GroupRows> rows() const {
    std::vector<GroupRows> rows;
    for (size_t g = 0; g < num_rows.size(); ++g) rows.push_back({num_rows[g], wanted[g]});
    return rows;
  }
};

Groups random_groups(int dp, std::mt19937& random) {
  Groups groups;
  for (int g = 0; g < dp; ++g) {
    groups.num_rows.push_back(static_cast<int64_t>(random() % 12));
    std::vector<int32_t>& wanted = groups.wanted.emplace_back();
    for (int32_t row = 0; row < groups.num_rows.back(); ++row) {
      if (random() % 3 == 0) wanted.push_back(row);
    }
  }
  return groups;
}

// Of every rank, its StepRows; counts [dp] are of its groups' rows.
void check(const Topology& t, RowLayoutKind layout, const std::vector<StepRows>& ranks,
           const std::vector<int64_t>& counts) {
  const int expert_ranks = t.ep * t.etp;
  for (int rank = 0; rank < t.world; ++rank) {
    const StepRows& rows = ranks[static_cast<size_t>(rank)];
    const int64_t of_group = counts[static_cast<size_t>(t.dp_index(rank))];
    EXPECT_EQ(rows.num_rows, of_group);
    const Range whole{0, of_group};
    if (layout == RowLayoutKind::kReplicated) {
      EXPECT_EQ(rows.mine, whole);
    }
    // What the ranks of a tp group keep, as they themselves say.
    for (int i = 0; i < t.tp; ++i) {
      const StepRows& other = ranks[static_cast<size_t>(t.dp_index(rank) * t.tp + i)];
      EXPECT_EQ(rows.rows_of_tp[static_cast<size_t>(i)], other.mine.size());
    }
    // What the ranks of an expert group bring: what they say, in their order, each row of a dp group once.
    const int base = rank / expert_ranks * expert_ranks;
    std::vector<std::pair<int, int64_t>> met;  // dp group and row
    for (int i = 0; i < expert_ranks; ++i) {
      const StepRows& other = ranks[static_cast<size_t>(base + i)];
      EXPECT_EQ(rows.rows_of_experts[static_cast<size_t>(i)], other.brought.size());
      for (int64_t row = other.brought.begin; row < other.brought.end; ++row) {
        met.emplace_back(t.dp_index(base + i), other.mine.begin + row);
      }
    }
    EXPECT_EQ(rows.num_met, std::ssize(met));
    EXPECT_TRUE(std::ranges::is_sorted(met));
    EXPECT_EQ(std::ranges::adjacent_find(met), met.end());
    // Where this rank's rows stand among them.
    ASSERT_EQ(rows.home.size(), rows.mine.size());
    for (int64_t i = 0; i < rows.mine.size(); ++i) {
      const std::pair<int, int64_t> expected(t.dp_index(rank), rows.mine.begin + i);
      EXPECT_EQ(met.at(static_cast<size_t>(rows.home.begin + i)), expected);
    }
  }
}

// The slices of a tp group's ranks, together, are its rows.
void check_slices(const Topology& t, const std::vector<StepRows>& ranks) {
  for (int rank = 0; rank < t.world; ++rank) {
    const StepRows& rows = ranks[static_cast<size_t>(rank)];
    const int64_t begin = t.tp_index(rank) == 0 ? 0 : ranks[static_cast<size_t>(rank - 1)].mine.end;
    EXPECT_EQ(rows.mine.begin, begin);
    if (t.tp_index(rank) == t.tp - 1) {
      EXPECT_EQ(rows.mine.end, rows.num_rows);
    }
  }
}

class StepRowsTest : public testing::TestWithParam<int> {};

TEST_P(StepRowsTest, RanksOfEveryLayoutAgree) {
  std::mt19937 random(23);
  for (const int tp : {1, 2, 4, 8}) {
    for (const int etp : {1, 2, 4, 8}) {
      for (int ep = 1; ep <= 8; ++ep) {
        const auto topology = make_topology({.world = GetParam(), .tp = tp, .ep = ep, .etp = etp}, {8, 8});
        if (!topology.ok()) continue;
        const Topology& t = *topology;
        SCOPED_TRACE(testing::Message() << "tp " << t.tp << " ep " << t.ep << " etp " << t.etp);
        std::vector<StepRows> all(static_cast<size_t>(t.world)), wanted(static_cast<size_t>(t.world));
        for (int round = 0; round < 4; ++round) {  // values are filled again and again
          const Groups groups = random_groups(t.dp, random);
          std::vector<int64_t> num_wanted;
          for (const auto& rows : groups.wanted) num_wanted.push_back(std::ssize(rows));
          for (const RowLayoutKind layout : {RowLayoutKind::kSliced, RowLayoutKind::kReplicated}) {
            for (int rank = 0; rank < t.world; ++rank) {
              const StepRowsMaker maker(t, rank);
              maker.make_all(layout, groups.rows(), all[static_cast<size_t>(rank)]);
              maker.make_wanted(layout, groups.rows(), wanted[static_cast<size_t>(rank)]);
            }
            check(t, layout, all, groups.num_rows);
            check(t, layout, wanted, num_wanted);
            if (layout == RowLayoutKind::kSliced) {
              check_slices(t, all);
              check_slices(t, wanted);
            }
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Worlds, StepRowsTest, testing::Values(1, 2, 3, 4, 6, 8, 16));

}  // namespace
}  // namespace octet
