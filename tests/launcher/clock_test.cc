// The wall clock is set back and forth while a job is at work, which changes nothing.
#include "tests/launcher/run_job.h"

namespace octet::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

class ClockTest : public JobTest {
 protected:
  Launch jumping() const { return {.environment = {{"LD_PRELOAD", OCTET_JUMPING_CLOCK}}}; }
};

TEST_F(ClockTest, TheClockOfTheseTestsJumps) {
  const TempFolder folder;
  const std::string command = "for i in 1 2 3 4; do LD_PRELOAD=" + std::string(OCTET_JUMPING_CLOCK) + " date +%s >> " +
                              (folder / "times").string() + "; sleep 0.25; done";
  ASSERT_EQ(std::system(command.c_str()), 0);
  std::vector<int64_t> times;
  for (const std::string& line : lines_of(read_file(folder / "times"))) times.push_back(std::stoll(line));
  ASSERT_THAT(times, SizeIs(4));
  const auto [least, most] = std::ranges::minmax(times);
  EXPECT_GT(most - least, 80'000);
}

// Long enough for a dozen jumps; no rank is taken for silent.
TEST_F(ClockTest, NoRankIsLostAndTheTextIsTheSame) {
  const std::vector<std::string> command = {"generate", "In the beginning",  "--temperature",
                                            "0",        "--ignore-eos",      "--max-tokens",
                                            "600",      "--heartbeat-limit", "20"};
  EXPECT_EQ(output_of(on_ranks(2, command), jumping()), output_of(command));
}

// A rank that stops is found as soon as ever: its silence is measured by another clock.
TEST_F(ClockTest, ASilentRankIsFoundInTime) {
  RunningOctet run(
      on_ranks(2, {"generate", "In the beginning", "--ignore-eos", "--max-tokens", "30000", "--heartbeat-limit", "4"}),
      jumping());
  run.read_bytes(20);
  const pid_t process = await_process_of_rank(run, 1);
  ASSERT_GT(process, 0);
  ::kill(process, SIGSTOP);
  const auto begin = std::chrono::steady_clock::now();
  const Outcome outcome = run.wait();
  const Seconds elapsed = std::chrono::steady_clock::now() - begin;
  ::kill(process, SIGKILL);
  EXPECT_EQ(outcome.exit_code, 3) << outcome.err;
  ASSERT_THAT(lines_about_lost_ranks(outcome), SizeIs(1)) << outcome.err;
  EXPECT_THAT(lines_about_lost_ranks(outcome)[0], HasSubstr("rank 1 "));
  EXPECT_GE(seconds_silent(lines_about_lost_ranks(outcome)[0]), 4);
  EXPECT_LT(elapsed.count(), 40);
}

}  // namespace
}  // namespace octet::testing
