// Layouts: which fit, what is chosen where nothing is said, and who is where.
#include "parallel/topology.h"

#include <gmock/gmock.h>

#include <set>
#include <tuple>

namespace octet {
namespace {

using ::testing::HasSubstr;

constexpr int kWorlds[] = {1, 2, 3, 4, 6, 8, 16};

bool is_power_up_to_8(int value) { return value == 1 || value == 2 || value == 4 || value == 8; }

TEST(Topology, EveryRequestIsFilledInAsAskedOrRefused) {
  for (const int world : kWorlds) {
    for (const ModelShape model : {ModelShape{8, 8}, {6, 6}, {1, 3}, {2, 64}}) {
      for (int tp = 1; tp <= world; ++tp) {
        for (int etp = 1; etp <= world; ++etp) {
          for (int ep = 1; ep <= world; ++ep) {
            const auto topology = make_topology({world, tp, 0, ep, etp}, model);
            const bool fits = is_power_up_to_8(tp) && world % tp == 0 && model.num_kv_heads % tp == 0 &&
                              is_power_up_to_8(etp) && world % (ep * etp) == 0 && ep <= model.num_experts;
            ASSERT_EQ(topology.ok(), fits) << world << " ranks, tp " << tp << " ep " << ep << " etp " << etp;
            if (!fits) continue;
            EXPECT_EQ(*topology, (Topology{world, tp, world / tp, ep, etp, world / (ep * etp)}));
          }
        }
      }
    }
  }
}

TEST(Topology, DefaultsAreTheLargestThatFit) {
  const ModelShape mixtral{8, 8};
  for (const auto& [world, tp, ep, replicas] : {std::tuple{1, 1, 1, 1},
                                                {2, 2, 2, 1},
                                                {3, 1, 3, 1},
                                                {4, 4, 4, 1},
                                                {6, 2, 6, 1},
                                                {8, 8, 8, 1},
                                                {11, 1, 1, 11},
                                                {16, 8, 8, 2}}) {
    const auto topology = make_topology({.world = world}, mixtral);
    ASSERT_TRUE(topology.ok()) << world;
    EXPECT_EQ(*topology, (Topology{world, tp, world / tp, ep, 1, replicas}));
  }
  EXPECT_EQ(make_topology({.world = 8}, {6, 6})->tp, 2);
  EXPECT_EQ(make_topology({.world = 8}, {6, 6})->ep, 4);
  EXPECT_EQ(make_topology({.world = 8, .etp = 4}, mixtral)->ep, 2);
  EXPECT_EQ(make_topology({.world = 8, .dp = 4}, mixtral)->tp, 2);
}

TEST(Topology, LayoutThatDoesNotFitNamesThoseThatDo) {
  const auto topology = make_topology({.world = 6, .tp = 4}, {8, 8});
  ASSERT_FALSE(topology.ok());
  EXPECT_EQ(topology.status().code(), StatusCode::kInvalidInput);
  EXPECT_THAT(topology.status().message(), HasSubstr("layouts of 6 ranks that fit: (tp, dp) = (1, 6) (2, 3); "));
  EXPECT_THAT(topology.status().message(),
              HasSubstr("(ep, etp, replicas) = (1, 1, 6) (2, 1, 3) (3, 1, 2) (6, 1, 1) (1, 2, 3) (3, 2, 1)"));
  EXPECT_FALSE(make_topology({.world = 0}, {8, 8}).ok());
  EXPECT_FALSE(make_topology({.world = 4, .tp = -2}, {8, 8}).ok());
  EXPECT_FALSE(make_topology({.world = 4, .ep = 9}, {8, 8}).ok());
  EXPECT_FALSE(make_topology({.world = 4, .etp = 8}, {8, 8}).ok());
  EXPECT_FALSE(make_topology({.world = 4, .tp = 2, .dp = 4}, {8, 8}).ok());
}

TEST(Topology, EveryLayoutThatAnErrorListsFits) {
  for (const int world : kWorlds) {
    const auto refused = make_topology({.world = world, .tp = 64}, {8, 8});
    ASSERT_FALSE(refused.ok());
    const std::string text = refused.status().message();
    int num_listed = 0;
    for (size_t at = text.find("replicas) ="); (at = text.find('(', at)) != std::string::npos; ++at, ++num_listed) {
      int ep = 0, etp = 0, replicas = 0;
      ASSERT_EQ(std::sscanf(text.c_str() + at, "(%d, %d, %d)", &ep, &etp, &replicas), 3) << text;
      const auto topology = make_topology({.world = world, .ep = ep, .etp = etp}, {8, 8});
      ASSERT_TRUE(topology.ok());
      EXPECT_EQ(topology->replicas, replicas);
    }
    EXPECT_GE(num_listed, 1);
  }
}

TEST(Topology, IndexesNumberTheRanks) {
  for (const int world : kWorlds) {
    for (const int etp : {1, 2, 4, 8}) {
      const auto topology = make_topology({.world = world, .etp = etp}, {8, 8});
      if (!topology.ok()) continue;
      std::set<std::pair<int, int>> attention;
      std::set<std::tuple<int, int, int>> experts;
      for (int rank = 0; rank < world; ++rank) {
        const Topology& t = *topology;
        EXPECT_EQ(rank, t.dp_index(rank) * t.tp + t.tp_index(rank));
        EXPECT_EQ(rank, (t.replica(rank) * t.ep + t.ep_index(rank)) * t.etp + t.etp_index(rank));
        EXPECT_LT(t.tp_index(rank), t.tp);
        EXPECT_LT(t.etp_index(rank), t.etp);
        EXPECT_LT(t.ep_index(rank), t.ep);
        EXPECT_LT(t.replica(rank), t.replicas);
        attention.emplace(t.dp_index(rank), t.tp_index(rank));
        experts.emplace(t.replica(rank), t.ep_index(rank), t.etp_index(rank));
      }
      EXPECT_EQ(std::ssize(attention), world);
      EXPECT_EQ(std::ssize(experts), world);
    }
  }
}

}  // namespace
}  // namespace octet
