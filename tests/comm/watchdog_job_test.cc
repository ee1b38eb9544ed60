// Real jobs under mpirun whose ranks are killed, stopped and kept away: each ends in time, with the one line that says
// why; and none ends that should go on.
#include <gmock/gmock.h>
#include <signal.h>

#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "watched_job.h"

namespace octet {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::AllOf;
using testing::AnyOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

constexpr int kNumRanks = 3;

// mpirun of kNumRanks ranks of watchdog_program.
class Job : public WatchedJob {
 public:
  explicit Job(std::vector<std::string> arguments) : WatchedJob(kNumRanks, with_program(std::move(arguments))) {}

 private:
  static std::vector<std::string> with_program(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), OCTET_WATCHDOG_PROGRAM);
    return arguments;
  }
};

class WatchdogJob : public testing::Test {
 protected:
  void SetUp() override {
    if (std::string(OCTET_WATCHDOG_PROGRAM).empty()) GTEST_SKIP() << "built for the thread sanitizer";
  }
};

class WatchdogJobTest : public WatchdogJob, public testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(Rank, WatchdogJobTest, testing::Range(0, kNumRanks));

TEST_P(WatchdogJobTest, KilledRankIsNamedAndTheJobEnds) {
  Job job({"work", "60", "1500", "120000"});
  kill(job.process(GetParam()), SIGKILL);
  EXPECT_GT(job.exit_code(seconds(10)), 0) << job.text();
  ASSERT_EQ(job.verdicts().size(), 1) << job.text();
  EXPECT_THAT(job.verdicts()[0], HasSubstr("rank " + std::to_string(GetParam()) + " (host "));
  EXPECT_THAT(job.verdicts()[0], ContainsRegex("\\) died: .* last seen in (layer 7, dispatch|plan)"));
}

TEST_P(WatchdogJobTest, StoppedRankIsNamedAndTheJobEnds) {
  Job job({"work", "60", "1500", "120000"});
  kill(job.process(GetParam()), SIGSTOP);
  EXPECT_EQ(job.exit_code(seconds(15)), 3) << job.text();
  ASSERT_EQ(job.verdicts().size(), 1) << job.text();
  EXPECT_THAT(job.verdicts()[0], HasSubstr("rank " + std::to_string(GetParam()) + " (host "));
  EXPECT_THAT(job.verdicts()[0], ContainsRegex("silent for 1\\.[5-9] s; last seen in (layer 7, dispatch|plan)"));
  EXPECT_THAT(job.verdicts()[0], ContainsRegex("; rank [01] is in .* received [0-9]+ of [0-9]+ bytes"));
}

TEST_P(WatchdogJobTest, ShortStopIsForgiven) {
  Job job({"work", "3", "2500", "120000"});
  const pid_t process = job.process(GetParam());
  kill(process, SIGSTOP);
  std::this_thread::sleep_for(milliseconds(800));
  kill(process, SIGCONT);
  EXPECT_EQ(job.exit_code(seconds(20)), 0) << job.text();
  EXPECT_THAT(job.verdicts(), testing::IsEmpty());
}

// Every rank is stopped for longer than the limit: on waking, each has heard nothing for so long and must blame nobody.
TEST_F(WatchdogJob, RanksThatSleptTogetherBlameNobody) {
  Job job({"work", "3", "1000", "120000"});
  for (const int how : {SIGSTOP, SIGCONT}) {
    for (int rank = 0; rank < kNumRanks; ++rank) kill(job.process(rank), how);
    if (how == SIGSTOP) std::this_thread::sleep_for(milliseconds(1600));
  }
  EXPECT_EQ(job.exit_code(seconds(20)), 0) << job.text();
  EXPECT_THAT(job.verdicts(), testing::IsEmpty());
}

TEST_F(WatchdogJob, RankThatDoesNotComeIsNamed) {
  Job job({"absent", "60", "5000", "1000"});
  EXPECT_EQ(job.exit_code(seconds(20)), 3) << job.text();
  ASSERT_EQ(job.verdicts().size(), 1) << job.text();
  EXPECT_THAT(job.verdicts()[0],
              AllOf(HasSubstr("not entered by rank 1 (host "),
                    AnyOf(HasSubstr("in layer 7, dispatch: in all_to_all_v number"), HasSubstr("in broadcast number")),
                    ContainsRegex("received [0-9]+ of [0-9]+ bytes and [01] of"), Not(HasSubstr("by rank 2"))));
}

TEST_F(WatchdogJob, ComputingAndIdlenessForLongAreNoHang) {
  for (const char* mode : {"compute", "idle"}) {
    Job job({mode, "3", "5000", "700"});
    EXPECT_EQ(job.exit_code(seconds(20)), 0) << mode << job.text();
    EXPECT_THAT(job.verdicts(), testing::IsEmpty()) << mode;
  }
}

// Every rank is called back, rank 0 first, and the failing rank's own words are the one line.
TEST_F(WatchdogJob, FailureOfOneRankEndsAllWithItsExitCode) {
  Job job({"fail", "60", "5000", "120000"});
  EXPECT_EQ(job.exit_code(seconds(20)), 2) << job.text();
  ASSERT_EQ(job.verdicts().size(), 1) << job.text();
  EXPECT_THAT(job.verdicts()[0], ContainsRegex("octet rank 0: rank 1 \\(host .*\\): a bad shard"));
  EXPECT_THAT(job.text(), HasSubstr("octet rank 0: called back for rank 1"));
}

}  // namespace
}  // namespace octet
