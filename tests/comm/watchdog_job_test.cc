// Real jobs under mpirun whose ranks are killed, stopped and kept away: each ends, with the line that says why; and
// none ends that should go on. Limits are far above what a busy machine may hold up a rank.
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
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr int kNumRanks = 3;
constexpr seconds kEnd{60};

// mpirun of kNumRanks ranks of watchdog_program.
class Job : public WatchedJob {
 public:
  explicit Job(std::vector<std::string> arguments, const std::vector<std::string>& options = {})
      : WatchedJob(kNumRanks, with_program(std::move(arguments)), {}, options) {}

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

// Of a loss of rank 0 more than one rank may speak.
auto all_name(int rank) { return AllOf(Not(IsEmpty()), Each(HasSubstr(": rank " + std::to_string(rank) + " (host "))); }

TEST_P(WatchdogJobTest, KilledRankIsNamedAndTheJobEnds) {
  // mpirun, too, notices, and kills the others, which do not listen to its SIGTERM, after twice that many seconds.
  Job job({"work", "60", "10000", "120000"}, {"--mca", "odls_base_sigkill_timeout", "2"});
  kill(job.process(GetParam()), SIGKILL);
  EXPECT_GT(job.exit_code(kEnd), 0) << job.text();
  ASSERT_THAT(job.verdicts(), all_name(GetParam())) << job.text();
  EXPECT_THAT(job.verdicts(), Each(ContainsRegex("\\) died: .* last seen in (layer 7, dispatch|plan)")));
}

TEST_P(WatchdogJobTest, StoppedRankIsNamedAndTheJobEnds) {
  Job job({"work", "60", "4000", "120000"});
  kill(job.process(GetParam()), SIGSTOP);
  EXPECT_EQ(job.exit_code(kEnd), 3) << job.text();
  ASSERT_THAT(job.verdicts(), all_name(GetParam())) << job.text();
  EXPECT_THAT(job.verdicts()[0], ContainsRegex("silent for [4-9]\\.[0-9] s; last seen in (layer 7, dispatch|plan)"));
  EXPECT_THAT(job.verdicts()[0], ContainsRegex("; rank [0-2] is in .* received [0-9]+ of [0-9]+ bytes"));
}

TEST_P(WatchdogJobTest, ShortStopIsForgiven) {
  Job job({"work", "3", "10000", "120000"});
  const pid_t process = job.process(GetParam());
  kill(process, SIGSTOP);
  std::this_thread::sleep_for(milliseconds(800));
  kill(process, SIGCONT);
  EXPECT_EQ(job.exit_code(kEnd), 0) << job.text();
  EXPECT_THAT(job.verdicts(), IsEmpty());
}

// Every rank is stopped for longer than the limit: on waking, each has heard nothing for so long and must blame nobody.
TEST_F(WatchdogJob, RanksThatSleptTogetherBlameNobody) {
  Job job({"work", "7", "4000", "120000"});
  const std::vector<pid_t> processes = job.processes();
  for (const pid_t process : processes) kill(process, SIGSTOP);
  std::this_thread::sleep_for(milliseconds(4600));
  for (const pid_t process : processes) kill(process, SIGCONT);
  EXPECT_EQ(job.exit_code(kEnd), 0) << job.text();
  EXPECT_THAT(job.verdicts(), IsEmpty());
}

TEST_F(WatchdogJob, RankThatDoesNotComeIsNamed) {
  Job job({"absent", "60", "30000", "4000"});
  EXPECT_EQ(job.exit_code(kEnd), 3) << job.text();
  ASSERT_EQ(job.verdicts().size(), 1) << job.text();
  EXPECT_THAT(job.verdicts()[0],
              AllOf(HasSubstr("not entered by rank 1 (host "),
                    AnyOf(HasSubstr("in layer 7, dispatch: in all_to_all_v number"), HasSubstr("in broadcast number")),
                    ContainsRegex("received [0-9]+ of [0-9]+ bytes and [01] of"), Not(HasSubstr("by rank 2"))));
}

// Rank 1 computes, or rank 0 is idle, for longer than the limit.
TEST_F(WatchdogJob, ComputingAndIdlenessForLongAreNoHang) {
  Job computing({"compute", "7", "30000", "4000"});
  Job idle({"idle", "7", "30000", "4000"});
  for (Job* job : {&computing, &idle}) {
    EXPECT_EQ(job->exit_code(kEnd), 0) << job->text();
    EXPECT_THAT(job->verdicts(), IsEmpty());
  }
}

// Every rank is called back, rank 0 first, and the failing rank's own words are the one line.
TEST_F(WatchdogJob, FailureOfOneRankEndsAllWithItsExitCode) {
  Job job({"fail", "60", "30000", "120000"});
  EXPECT_EQ(job.exit_code(kEnd), 2) << job.text();
  ASSERT_EQ(job.verdicts().size(), 1) << job.text();
  EXPECT_THAT(job.verdicts()[0], ContainsRegex("octet rank 0: rank 1 \\(host .*\\): a bad shard"));
  EXPECT_THAT(job.text(), HasSubstr("octet rank 0: called back for rank 1"));
}

}  // namespace
}  // namespace octet
