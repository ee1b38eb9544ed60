// Verdicts from what was heard and when, with time as an argument.
#include "comm/watch_judge.h"

#include <gmock/gmock.h>

namespace octet {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr WatchLimits kLimits{seconds(10), seconds(120)};
constexpr uint64_t kAll = 1, kPair = 2;

// A rank that is in group kAll (all four ranks) and, ranks 2 and 3, in kPair, and has entered so many collectives of
// each.
ProgressReport computing(uint64_t events, uint64_t all_entered, uint64_t pair_entered = 0) {
  ProgressReport report;
  report.place.events = events;
  report.place.layer = 3;
  report.place.phase = Phase::kDispatch;
  report.groups = {{kAll, {0, 1, 2, 3}, all_entered}, {kPair, {2, 3}, pair_entered}};
  return report;
}

ProgressReport waiting(uint64_t events, uint64_t all_entered, uint64_t pair_entered = 0, uint32_t group = 0) {
  ProgressReport report = computing(events, all_entered, pair_entered);
  report.place.kind = CollectiveKind::kAllToAllV;
  report.place.group = group;
  report.place.sequence = group == 0 ? all_entered : pair_entered;
  report.place.expected_bytes = 128;
  report.place.received_bytes = 96;
  report.place.expected_peers = 3;
  report.place.received_peers = 2;
  return report;
}

class WatchJudgeTest : public testing::Test {
 protected:
  // Every rank reports at this time.
  void all_heard(std::vector<ProgressReport> reports, WatchJudge::Time now) {
    for (int rank = 0; rank < 4; ++rank) judge_.heard(rank, reports[static_cast<size_t>(rank)], now);
  }

  std::vector<int> others_{1, 2, 3};
  WatchJudge judge_{0, {"a", "a", "b", "b"}, others_, kLimits, seconds(0)};
};

TEST_F(WatchJudgeTest, SilenceBeyondTheLimitNamesRankHostAndPlace) {
  all_heard({waiting(5, 8), waiting(5, 8), computing(5, 7), waiting(5, 8)}, seconds(1));
  for (const int rank : {1, 3}) judge_.heard(rank, waiting(5, 8), seconds(11));
  EXPECT_FALSE(judge_.verdict(seconds(11)));
  EXPECT_EQ(judge_.silence(2, seconds(11)), seconds(10));
  const auto verdict = judge_.verdict(seconds(12));
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->rank, 2);
  EXPECT_EQ(verdict->exit_code, 3);
  EXPECT_TRUE(verdict->silent);
  EXPECT_THAT(verdict->line, AllOf(HasSubstr("rank 2 (host b) has been silent for 11.0 s"),
                                   HasSubstr("last seen in layer 3, dispatch: computing; rank 0 is in layer 3"),
                                   HasSubstr("received 96 of 128 bytes and 2 of 3 peers")));
}

TEST_F(WatchJudgeTest, RankNeverHeardOfIsSilentSinceTheStart) {
  for (const int rank : {1, 3}) judge_.heard(rank, computing(1, 0), seconds(9));
  EXPECT_FALSE(judge_.verdict(seconds(9)));
  ASSERT_TRUE(judge_.verdict(milliseconds(10'001)));
  EXPECT_EQ(judge_.verdict(milliseconds(10'001))->rank, 2);
}

TEST_F(WatchJudgeTest, LostRankIsDeadAfterTheGraceUnlessItSaidGoodbye) {
  all_heard({computing(1, 1), computing(1, 1), waiting(1, 2), computing(1, 1)}, seconds(1));
  judge_.left(1);
  judge_.lost(1, seconds(1));
  judge_.lost(2, seconds(1));
  judge_.lost(2, milliseconds(1100));  // still lost: the grace runs from the first time
  EXPECT_FALSE(judge_.verdict(milliseconds(1199)));
  const auto verdict = judge_.verdict(milliseconds(1200));
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->rank, 2);
  EXPECT_FALSE(verdict->silent);
  EXPECT_THAT(verdict->line, HasSubstr("rank 2 (host b) died: its connection closed without a goodbye; last seen in "
                                       "layer 3, dispatch: in all_to_all_v number 2"));
}

TEST_F(WatchJudgeTest, RankThatLeftOwesNothing) {
  for (const int rank : {1, 2, 3}) judge_.left(rank);
  EXPECT_FALSE(judge_.verdict(seconds(1000)));
  EXPECT_EQ(judge_.silence(2, seconds(1000)), seconds(0));
}

TEST_F(WatchJudgeTest, StuckCollectiveNamesWhoHasNotEnteredIt) {
  // Ranks 0, 1 and 3 wait for rank 2 in the eighth collective of all.
  for (int second = 1; second <= 121; ++second) {
    all_heard({waiting(5, 8), waiting(5, 8), computing(5, 7), waiting(5, 8)}, seconds(second));
    EXPECT_FALSE(judge_.verdict(seconds(second))) << second;
  }
  all_heard({waiting(5, 8), waiting(5, 8), computing(5, 7), waiting(5, 8)}, seconds(122));
  const auto verdict = judge_.verdict(seconds(122));
  ASSERT_TRUE(verdict);
  EXPECT_THAT(
      verdict->line,
      AllOf(HasSubstr("rank 0 (host a) has waited for 121.0 s in layer 3, dispatch: in all_to_all_v number 8 of "
                      "ranks 0 1 2 3, received 96 of 128 bytes and 2 of 3 peers"),
            HasSubstr("not entered by rank 2 (host b), in layer 3, dispatch: computing"), Not(HasSubstr("by rank 1")),
            Not(HasSubstr(", rank 3"))));
}

TEST_F(WatchJudgeTest, CulpritIsFoundBehindTheRanksThatWaitForIt) {
  // Rank 3 computes; rank 2 waits for it in the pair; ranks 0 and 1 wait for both.
  for (int second = 1; second <= 130; ++second) {
    all_heard({waiting(5, 8), waiting(5, 8), waiting(5, 7, 4, 1), computing(5, 7, 3)}, seconds(second));
  }
  const auto verdict = judge_.verdict(seconds(130));
  ASSERT_TRUE(verdict);
  EXPECT_THAT(verdict->line, HasSubstr("rank 3 (host b), in layer 3, dispatch: computing"));
}

TEST_F(WatchJudgeTest, AnyEventStartsTheCollectiveLimitAnew) {
  for (int second = 1; second <= 1000; ++second) {
    const auto events = static_cast<uint64_t>(second / 100);  // rank 2 computes on, slowly
    all_heard({waiting(5, 8), waiting(5, 8), computing(events, 7), waiting(5, 8)}, seconds(second));
    EXPECT_FALSE(judge_.verdict(seconds(second))) << second;
  }
}

TEST_F(WatchJudgeTest, WaitingForThePlanOfAnIdleRankIsNoHang) {
  for (const bool idle : {true, false}) {
    WatchJudge judge(0, {"a", "a", "b", "b"}, others_, kLimits, seconds(0));
    ProgressReport rank_0 = computing(5, 7), other = waiting(5, 8);
    rank_0.place.phase = other.place.phase = Phase::kPlan;
    rank_0.place.idle = idle;
    for (int second = 1; second <= 200; ++second) {
      judge.heard(0, rank_0, seconds(second));
      for (const int rank : others_) judge.heard(rank, other, seconds(second));
    }
    EXPECT_EQ(judge.verdict(seconds(200)).has_value(), !idle);
  }
}

TEST_F(WatchJudgeTest, NobodyInACollectiveIsNoHang) {
  for (int second = 1; second <= 200; ++second) {
    all_heard({computing(5, 8), computing(5, 8), computing(5, 8), computing(5, 8)}, seconds(second));
  }
  EXPECT_FALSE(judge_.verdict(seconds(200)));
}

TEST(WatchJudge, OneWhoSeesOnlyRank0JudgesNoCollective) {
  const std::vector<int> watched = {0};
  WatchJudge judge(1, {"a", "a", "b", "b"}, watched, kLimits, seconds(0));
  for (int second = 1; second <= 200; ++second) {
    judge.heard(0, waiting(5, 8), seconds(second));
    judge.heard(1, waiting(5, 8), seconds(second));
  }
  EXPECT_FALSE(judge.verdict(seconds(200)));
  EXPECT_EQ(judge.verdict(seconds(211))->rank, 0);
}

}  // namespace
}  // namespace octet
