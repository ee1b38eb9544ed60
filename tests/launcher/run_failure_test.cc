// Jobs under octet run whose ranks are killed and stopped, that are interrupted, drained and started again.
#include <map>

#include "tests/launcher/run_job.h"

namespace octet::testing {
namespace {

using Clock = std::chrono::steady_clock;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr int kNumRanks = 3;
constexpr Seconds kEndsWithin{5 * 5};  // the promise is 5 s; machines that run tests are busy

class RunFailureTest : public JobTest {};
class RankOfRunTest : public JobTest, public ::testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(Rank, RankOfRunTest, ::testing::Range(0, kNumRanks));

// Waits until it writes text, so that all ranks are at work. 0: it has ended before that.
pid_t rank_at_work(RunningOctet& run, int rank) {
  const pid_t process = await_process_of_rank(run, rank);
  return run.read_bytes(40).empty() ? 0 : process;
}

TEST_P(RankOfRunTest, KilledRankIsNamedAndTheJobEnds) {
  RunningOctet run(on_ranks(kNumRanks, kEndless));
  const pid_t process = rank_at_work(run, GetParam());
  ASSERT_GT(process, 0);
  ::kill(process, SIGKILL);
  const auto start = Clock::now();
  const Outcome outcome = run.wait();
  EXPECT_LT(Clock::now() - start, kEndsWithin);
  EXPECT_EQ(outcome.exit_code, 3);
  ASSERT_THAT(lines_about_lost_ranks(outcome), SizeIs(1)) << outcome.err;
  EXPECT_THAT(lines_about_lost_ranks(outcome)[0],
              AllOf(HasSubstr("octet: rank " + std::to_string(GetParam()) + " (host "),
                    HasSubstr(" died: killed by signal 9 (Killed)")));
  EXPECT_THAT(outcome.err, AllOf(Not(HasSubstr("-----")), Not(HasSubstr("mpirun noticed"))));
}

TEST_P(RankOfRunTest, RankThatHangsIsNamedWithItsPlace) {
  RunningOctet run(on_ranks(kNumRanks, kEndless + std::vector<std::string>{"--heartbeat-limit", "4"}));
  const pid_t process = rank_at_work(run, GetParam());
  ASSERT_GT(process, 0);
  std::this_thread::sleep_for(Seconds(2));  // for a heartbeat to tell where it is
  ::kill(process, SIGSTOP);
  const auto start = Clock::now();
  const Outcome outcome = run.wait();
  EXPECT_LT(Clock::now() - start, kEndsWithin + Seconds(4));
  EXPECT_EQ(outcome.exit_code, 3);
  ASSERT_THAT(lines_about_lost_ranks(outcome), SizeIs(1)) << outcome.err;
  EXPECT_THAT(lines_about_lost_ranks(outcome)[0],
              AllOf(HasSubstr("rank " + std::to_string(GetParam()) + " (host "),
                    ContainsRegex("last seen in (layer [0-9]+, |plan|logits)"), ContainsRegex("in [a-z_]+ number")));
  EXPECT_GE(seconds_silent(lines_about_lost_ranks(outcome)[0]), 4);
}

TEST_F(RunFailureTest, RankThatSleepsForLessThanTheLimitIsWaitedFor) {
  const std::vector<std::string> command = {"generate", "In the beginning",  "--temperature",
                                            "0",        "--ignore-eos",      "--max-tokens",
                                            "600",      "--heartbeat-limit", "10"};
  RunningOctet run(on_ranks(kNumRanks, command));
  const pid_t process = rank_at_work(run, 1);
  ASSERT_GT(process, 0);
  ::kill(process, SIGSTOP);
  std::this_thread::sleep_for(Seconds(2));
  ::kill(process, SIGCONT);
  const Outcome outcome = run.wait();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, output_of(command));
  EXPECT_THAT(lines_about_lost_ranks(outcome), IsEmpty());
}

// Whether it ends soon; its last parent may be slow to take notice of it.
bool has_ended(pid_t process) {
  for (int i = 0; i < 50; ++i) {
    std::ifstream stat("/proc/" + std::to_string(process) + "/stat");
    std::string pid, name, state;
    if (!(stat >> pid >> name >> state) || state == "Z") return true;
    std::this_thread::sleep_for(Seconds(0.1));
  }
  return false;
}

TEST_F(RunFailureTest, InterruptEndsTheJobAndItsRanks) {
  for (const int signal : {SIGINT, SIGTERM}) {
    RunningOctet run(on_ranks(kNumRanks, kEndless));
    const pid_t process = rank_at_work(run, kNumRanks - 1);
    ASSERT_GT(process, 0);
    run.send(signal);
    const Outcome outcome = run.wait();
    EXPECT_EQ(outcome.exit_code, 130) << outcome.err;
    EXPECT_THAT(outcome.err, Not(HasSubstr("-----")));
    EXPECT_TRUE(has_ended(process));
  }
}

// A stand-in for `octet serve`: a program of its own, so that its end can be chosen.
class ServiceTest : public JobTest {
 protected:
  std::vector<std::string> serve(const std::string& script, const std::vector<std::string>& flags = {}) {
    write_file(folder_ / "octet", "#!/bin/bash\n" + script);
    std::filesystem::permissions(folder_ / "octet", std::filesystem::perms::owner_all);
    write_file(folder_ / "cluster.toml", "ranks = 2\nbinary = \"" + (folder_ / "octet").string() + "\"\n");
    return std::vector<std::string>{"run", "--cluster", folder_ / "cluster.toml"} + flags +
           std::vector<std::string>{"--", "serve"};
  }
  const TempFolder folder_;
};

constexpr const char* kServeUntilDrained = "trap 'echo drained; exit 0' USR1\necho up\nwhile :; do sleep 0.05; done\n";

TEST_F(ServiceTest, FirstSignalDrainsAndEndsWithZero) {
  RunningOctet run(serve(kServeUntilDrained));
  run.read_until("up\nup\n");
  run.send(SIGTERM);
  const Outcome outcome = run.wait();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "up\nup\ndrained\ndrained\n");
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("draining"), Not(HasSubstr("Forwarding"))));
}

TEST_F(ServiceTest, SecondSignalEndsItAtOnce) {
  RunningOctet run(serve("trap 'echo draining' USR1\necho up\nwhile :; do sleep 0.05; done\n"));
  run.read_until("up\nup\n");
  run.send(SIGINT);
  run.read_until("draining\ndraining\n");
  run.send(SIGINT);
  EXPECT_EQ(run.wait().exit_code, 130);
}

// A service whose rank 0 ends in this way. Its starts are counted in a file.
class EndingServiceTest : public ServiceTest {
 protected:
  Outcome run_to_the_end(const std::string& end, int max_restarts) {
    std::filesystem::remove(starts_);
    return run_octet(
        serve("[ \"$OMPI_COMM_WORLD_RANK\" = 0 ] || exec sleep 60\necho up >>" + starts_.string() + "\n" + end + "\n",
              {"--restart", std::to_string(max_restarts)}));
  }
  const std::filesystem::path starts_ = folder_ / "starts";
};

TEST_F(EndingServiceTest, AFailedServiceIsStartedAgainAsOftenAsAsked) {
  for (const auto& [end, code] : std::map<std::string, int>{{"exit 1", 1}, {"kill -9 $$", 3}}) {
    const Outcome outcome = run_to_the_end(end, 2);
    EXPECT_EQ(outcome.exit_code, code) << outcome.err;
    EXPECT_EQ(read_file(starts_), "up\nup\nup\n");
    EXPECT_THAT(outcome.err, AllOf(HasSubstr("restart 1 of 2"), HasSubstr("restart 2 of 2")));
  }
}

TEST_F(EndingServiceTest, BadInputIsNotTriedAgain) {
  const Outcome outcome = run_to_the_end("exit 2", 5);
  EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
  EXPECT_EQ(read_file(starts_), "up\n");
}

}  // namespace
}  // namespace octet::testing
