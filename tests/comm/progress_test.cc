// Where a rank is, as other threads see it.
#include "comm/progress.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <thread>

namespace octet {
namespace {

using testing::ElementsAre;

TEST(CommProgress, ReportsPlaceAndWhatIsAwaited) {
  CommProgress progress;
  CommProgress::Group& group = progress.add_group(std::vector<int>{2, 5, 7});
  EXPECT_EQ(describe(progress.report()), "start: computing");
  progress.set_place(3, Phase::kDispatchCounts);
  EXPECT_EQ(describe(progress.report()), "layer 3, dispatch counts: computing");
  {
    CollectiveScope scope(progress, group, CollectiveKind::kAllToAllV, 300, 2);
    scope.received(120, 1);
    EXPECT_EQ(describe(progress.report()),
              "layer 3, dispatch counts: in all_to_all_v number 1 of ranks 2 5 7, received 120 of 300 bytes and 1 of 2 "
              "peers");
  }
  EXPECT_EQ(describe(progress.report()), "layer 3, dispatch counts: computing");
  progress.set_place(kNoLayer, Phase::kPlan);
  progress.set_idle(true);
  EXPECT_EQ(describe(progress.report()), "plan: waiting for requests");
}

TEST(CommProgress, EverySignOfLifeIsAnEvent) {
  CommProgress progress;
  CommProgress::Group& group = progress.add_group(std::vector<int>{0, 1});
  uint64_t before = progress.report().place.events;
  const auto moved = [&] {
    const uint64_t events = progress.report().place.events;
    return std::exchange(before, events) < events;
  };
  EXPECT_FALSE(moved());
  progress.set_place(0, Phase::kGather);
  EXPECT_TRUE(moved());
  progress.tick();
  EXPECT_TRUE(moved());
  {
    CollectiveScope scope(progress, group, CollectiveKind::kAllGatherV, 8, 1);
    EXPECT_TRUE(moved());
    EXPECT_FALSE(moved());
    scope.received(4, 0);
    EXPECT_TRUE(moved());
  }
  EXPECT_TRUE(moved());
}

// Two ranks number their groups alike, and tell groups of the same members apart.
TEST(CommProgress, GroupsHaveTheSameKeyOnEveryRank) {
  CommProgress one, other;
  const std::vector<int> pair = {0, 1}, all = {0, 1, 2};
  one.add_group(all);
  const uint64_t first = one.add_group(pair).key, second = one.add_group(pair).key;
  EXPECT_EQ(other.add_group(pair).key, first);
  EXPECT_EQ(other.add_group(pair).key, second);
  EXPECT_NE(first, second);
  EXPECT_NE(other.add_group(all).key, first);
}

TEST(CommProgress, CountsCollectivesOfEachGroup) {
  CommProgress progress;
  CommProgress::Group& pair = progress.add_group(std::vector<int>{0, 1});
  CommProgress::Group& all = progress.add_group(std::vector<int>{0, 1, 2});
  for (CommProgress::Group* group : {&all, &pair, &all}) {
    CollectiveScope(progress, *group, CollectiveKind::kGather, 0, 0);
  }
  const ProgressReport report = progress.report();
  EXPECT_EQ(report.groups[0].entered, 1);
  EXPECT_EQ(report.groups[1].entered, 2);
  EXPECT_THAT(report.groups[1].members, ElementsAre(0, 1, 2));
}

TEST(CommProgress, TotalsGoToThePhaseOfTheCollective) {
  CommProgress progress;
  CommProgress::Group& group = progress.add_group(std::vector<int>{0, 1});
  for (const Phase phase : {Phase::kCombine, Phase::kPlan, Phase::kCombine}) {
    progress.set_place(1, phase);
    CollectiveScope scope(progress, group, CollectiveKind::kAllToAllV, 0, 0);
    scope.sent(phase == Phase::kPlan ? 7 : 100);
    scope.sent(1);
  }
  const auto totals = progress.totals();
  EXPECT_EQ(totals[static_cast<size_t>(Phase::kCombine)].bytes_sent, 202);
  EXPECT_EQ(totals[static_cast<size_t>(Phase::kCombine)].num_collectives, 2);
  EXPECT_EQ(totals[static_cast<size_t>(Phase::kPlan)].bytes_sent, 8);
  EXPECT_EQ(totals[static_cast<size_t>(Phase::kDispatch)].num_collectives, 0);
  EXPECT_TRUE(is_metadata(Phase::kPlan) && !is_metadata(Phase::kCombine));
}

TEST(CommProgress, CollectivesAreCountedByTheirTime) {
  CommProgress progress;
  CommProgress::Group& group = progress.add_group(std::vector<int>{0, 1});
  progress.set_place(1, Phase::kCombine);
  for (const int milliseconds : {0, 30, 0}) {
    CollectiveScope scope(progress, group, CollectiveKind::kAllToAllV, 0, 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  }
  const auto num_by_time = progress.totals()[static_cast<size_t>(Phase::kCombine)].num_by_time;
  EXPECT_EQ(std::accumulate(num_by_time.begin(), num_by_time.end(), int64_t{0}), 3);
  const auto over_25_ms = std::ranges::upper_bound(kCollectiveSeconds, 0.025) - kCollectiveSeconds.begin();
  EXPECT_GE(std::accumulate(num_by_time.begin() + over_25_ms, num_by_time.end(), int64_t{0}), 1);
}

// A reader sees places as they were published, never a mixture of two.
TEST(CommProgress, ReadersSeeWholePlaces) {
  CommProgress progress;
  CommProgress::Group& group = progress.add_group(std::vector<int>{0, 1});
  std::atomic<bool> done = false;
  std::thread reader([&] {
    uint64_t before = 0;
    while (!done) {
      const Place place = progress.report().place;
      EXPECT_GE(place.events, before);
      before = place.events;
      EXPECT_EQ(place.expected_bytes, place.expected_peers * 1000U);
    }
  });
  for (int round = 0; round < 20'000; ++round) {
    progress.set_place(round, Phase::kDispatch);
    CollectiveScope scope(progress, group, CollectiveKind::kAllToAllV, round * 1000, round);
  }
  done = true;
  reader.join();
}

}  // namespace
}  // namespace octet
