// How long a start may take, who is missing, and how often a service that fails is started again.
#include "launcher/job/start_clock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launcher/job/restart_window.h"

namespace octet {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::HasSubstr;

using enum RankStage;
const StartClock::Time kStart = StartClock::Time() + std::chrono::hours(100);

std::vector<RankAtDesk> at(const std::vector<RankStage>& stages) {
  std::vector<RankAtDesk> ranks;
  for (const RankStage stage : stages) ranks.push_back({stage, stage == kMissing ? "" : "h"});
  return ranks;
}

TEST(StartClock, CountsWhileRanksWaitForOthers) {
  StartClock clock(seconds(100), kStart);
  EXPECT_EQ(clock.deadline(), kStart + seconds(100)) << "none has been heard of";
  clock.look(at({kStarted, kMissing}), kStart + seconds(10));
  EXPECT_EQ(clock.deadline(), kStart + seconds(100));
  clock.look(at({kJoining, kStarted}), kStart + seconds(20));
  EXPECT_EQ(clock.deadline(), kStart + seconds(100));
}

TEST(StartClock, StandsStillWhileARankIsBusyWithTheModel) {
  StartClock clock(seconds(100), kStart);
  clock.look(at({kJoining, kOpening}), kStart + seconds(30));
  EXPECT_EQ(clock.deadline(), std::nullopt);
  clock.look(at({kJoining, kJoining}), kStart + minutes(60));
  EXPECT_EQ(clock.deadline(), kStart + minutes(60) + seconds(70));
  clock.look(at({kJoined, kJoined}), kStart + minutes(61));
  EXPECT_EQ(clock.deadline(), std::nullopt);
}

TEST(StartClock, ACommandThatNeedsNoOthersTakesItsTime) {
  StartClock clock(seconds(100), kStart);
  clock.look(at({kStarted, kStarted}), kStart + seconds(1));
  EXPECT_EQ(clock.deadline(), std::nullopt);
}

TEST(WhoIsMissing, NamesTheRanksThatKeepTheOthersWaiting) {
  const std::vector<std::string> hosts = {"a", "b", "c"};
  EXPECT_EQ(who_is_missing(at({kJoining, kMissing, kJoining}), hosts), "rank 1 (host b) has not started");
  EXPECT_EQ(who_is_missing(at({kMissing, kMissing, kJoining}), {}), "ranks 0, 1 have not started");
  EXPECT_EQ(who_is_missing(at({kJoining, kStarted}), hosts), "rank 1 (host h) does not come to the others");
  EXPECT_EQ(who_is_missing(at({kJoining, kJoining, kJoined}), hosts),
            "ranks 0 (host h), 1 (host h) wait for each other");
  EXPECT_THAT(who_is_missing(at(std::vector<RankStage>(50, kMissing)), {}), HasSubstr("6, 7 and 42 more have not"));
}

TEST(RestartWindow, GrantsSoManyInTenMinutesWithLongerAndLongerPauses) {
  RestartWindow window(7);
  auto now = kStart;
  for (const int pause : {1, 2, 4, 8, 16, 30, 30}) {
    EXPECT_EQ(window.failed("it broke", now), seconds(pause));
    now += seconds(pause + 1);
  }
  EXPECT_EQ(window.failed("it broke for good", now), std::nullopt);
  EXPECT_THAT(window.story(now), AllOf(HasSubstr("failed 8 times in 10 minutes: 98 s ago: it broke; "),
                                       HasSubstr("now: it broke for good")));
}

TEST(RestartWindow, ForgetsWhatIsLongAgo) {
  RestartWindow window(1);
  auto now = kStart;
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(window.failed("once more", now), seconds(1));
    EXPECT_EQ(window.num_restarts(), 1);
    now += RestartWindow::kWindow;
  }
  now -= seconds(1);
  EXPECT_EQ(window.failed("too soon", now), std::nullopt);
}

TEST(RestartWindow, NoneMeansNone) { EXPECT_EQ(RestartWindow(0).failed("once", kStart), std::nullopt); }

}  // namespace
}  // namespace octet
