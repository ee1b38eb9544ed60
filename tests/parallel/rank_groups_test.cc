// The groups that a rank talks to.
#include "parallel/rank_groups.h"

#include <gmock/gmock.h>

#include <algorithm>

namespace octet {
namespace {

using ::testing::ElementsAre;

TEST(RankGroups, SixteenRanksOfTwoReplicas) {
  const auto topology = make_topology({.world = 16, .tp = 4, .ep = 4, .etp = 2}, {8, 8});
  ASSERT_TRUE(topology.ok());
  const RankGroups groups = make_rank_groups(*topology, 13);  // replica 1, place 2, slice 1
  EXPECT_THAT(groups.tp, ElementsAre(12, 13, 14, 15));
  EXPECT_THAT(groups.experts, ElementsAre(8, 9, 10, 11, 12, 13, 14, 15));
  EXPECT_THAT(groups.place, ElementsAre(12, 13));
  EXPECT_THAT(groups.peers, ElementsAre(9, 11, 13, 15));
}

TEST(RankGroups, MembersOfAGroupAgreeOnIt) {
  for (const int world : {1, 2, 3, 4, 6, 8, 16}) {
    for (const int tp : {1, 2, 4, 8}) {
      for (const int etp : {1, 2, 4, 8}) {
        for (int ep = 1; ep <= 8; ++ep) {
          const auto topology = make_topology({.world = world, .tp = tp, .ep = ep, .etp = etp}, {8, 8});
          if (!topology.ok()) continue;
          for (int rank = 0; rank < world; ++rank) {
            const RankGroups mine = make_rank_groups(*topology, rank);
            EXPECT_EQ(mine.tp[static_cast<size_t>(topology->tp_index(rank))], rank);
            EXPECT_EQ(mine.place[static_cast<size_t>(topology->etp_index(rank))], rank);
            EXPECT_EQ(mine.peers[static_cast<size_t>(topology->ep_index(rank))], rank);
            const auto index = static_cast<size_t>(topology->ep_index(rank) * etp + topology->etp_index(rank));
            EXPECT_EQ(mine.experts[index], rank);
            for (const int other : mine.tp) EXPECT_EQ(make_rank_groups(*topology, other).tp, mine.tp);
            for (const int other : mine.place) EXPECT_EQ(make_rank_groups(*topology, other).place, mine.place);
            for (const int other : mine.peers) EXPECT_EQ(make_rank_groups(*topology, other).peers, mine.peers);
            for (const int other : mine.experts) EXPECT_EQ(make_rank_groups(*topology, other).experts, mine.experts);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace octet
