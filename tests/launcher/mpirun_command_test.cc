// The words of mpirun and srun, and what octet run makes of what they say.
#include "launcher/mpirun_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launcher/launcher_output.h"

namespace octet {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string line_of(const JobSpec& job) { return shell_line(mpirun_command(job)); }

TEST(MpirunCommand, OneHostNeedsLittle) {
  EXPECT_EQ(line_of({.num_ranks = 2, .local_slots = 2, .program = {"octet", "generate"}}),
            "mpirun -n 2 --bind-to none octet generate");
}

TEST(MpirunCommand, OversubscribesOnlyBeyondTheSlots) {
  EXPECT_THAT(line_of({.num_ranks = 3, .local_slots = 2}), HasSubstr(" --oversubscribe "));
  JobSpec job{.num_ranks = 6, .hosts = {{"a", 4}, {"b", 2}}, .local_slots = 1};
  EXPECT_THAT(line_of(job), Not(HasSubstr("--oversubscribe")));
  job.num_ranks = 7;
  EXPECT_THAT(line_of(job), HasSubstr(" --oversubscribe "));
}

TEST(MpirunCommand, EverythingThatIsAskedForIsThere) {
  const JobSpec job{.num_ranks = 6,
                    .hosts = {{"a", 4}, {"b", 2}},
                    .interface = "eth0",
                    .as_root = true,
                    .environment = {"OCTET_MODEL"},
                    .launcher_args = {"--mca", "x", "y"},
                    .program = {"/opt/octet", "serve"}};
  EXPECT_EQ(line_of(job),
            "mpirun -n 6 --host a:4,b:2 --map-by slot --bind-to none --allow-run-as-root "
            "--mca btl_tcp_if_include eth0 --mca oob_tcp_if_include eth0 "
            "-x OCTET_MODEL --mca x y /opt/octet serve");
}

TEST(MpirunCommand, AHostfileStandsForItsHosts) {
  const JobSpec job{.num_ranks = 2, .hosts = {{"a", 2}}, .hostfile = "hosts", .program = {"octet"}};
  EXPECT_EQ(line_of(job), "mpirun -n 2 --hostfile hosts --map-by slot --bind-to none octet");
}

TEST(MpirunCommand, TheProbeIsOneRankAHost) {
  const JobSpec job{.num_ranks = 9, .hosts = {{"a", 4}, {"b", 2}}, .hostfile = "hosts", .program = {"octet"}};
  EXPECT_EQ(line_of(one_rank_a_host(job, {"true"})), "mpirun -n 2 --host a:1,b:1 --map-by slot --bind-to none true");
}

TEST(SrunCommand, TakesTheAllocationsHosts) {
  EXPECT_EQ(shell_line(
                srun_command({.num_ranks = 4, .local_slots = 4, .interface = "ib0", .program = {"octet", "generate"}})),
            "srun --ntasks 4 --mpi=pmix --cpu-bind=none --kill-on-bad-exit=1 "
            "--export=ALL,OMPI_MCA_btl_tcp_if_include=ib0 octet generate");
}

TEST(SrunCommand, SharesOutTheAllocationsCpus) {
  JobSpec job{.num_ranks = 4, .local_slots = 4, .cpus_per_task = 8, .program = {"octet"}};
  EXPECT_THAT(shell_line(srun_command(job)), HasSubstr(" --cpus-per-task=8 octet"));
  job.num_ranks = 5;
  EXPECT_THAT(shell_line(srun_command(job)), AllOf(HasSubstr(" --overcommit octet"), Not(HasSubstr("per-task"))));
}

TEST(ShellLine, AShellReadsTheSameWords) {
  EXPECT_EQ(shell_line({"a", "two words", "", "it's", "$x", "--k=v/1,2:3"}),
            R"(a 'two words' '' 'it'\''s' '$x' --k=v/1,2:3)");
}

const std::string kFrame = std::string(74, '-') + "\n";
const std::string kKilled =
    kFrame + "mpirun noticed that process rank 1 with PID 0 on node b-1.x exited on signal 9 (Killed).\n" + kFrame;
const std::string kAborted = kFrame +
                             "Primary job  terminated normally, but 1 process returned\n"
                             "a non-zero exit code. Per user-direction, the job has been aborted.\n" +
                             kFrame;
const std::string kNoSlots = kFrame + "There are not enough slots available in the system\n" + kFrame;
const std::string kVerdict =
    "rank 1 (host b) died: its connection closed without a goodbye; last seen in layer 7, dispatch";

TEST(LauncherOutput, KeepsTheRanksLinesAndUnknownBannersWhateverThePieces) {
  const std::string all = "octet: loading\n" + kAborted + "[b:12] 3 more processes have sent help message help-x\n" +
                          "octet rank 1: done -----\n" + kNoSlots + "octet: " + kVerdict + "\n" + kKilled + "last";
  for (const size_t piece : {size_t{1}, size_t{7}, all.size()}) {
    LauncherOutput output;
    std::string passed;
    for (size_t at = 0; at < all.size(); at += piece) passed += output.take(all.substr(at, piece));
    passed += output.finish();
    EXPECT_EQ(passed, "octet: loading\noctet rank 1: done -----\n" + kNoSlots + "last\n");
    EXPECT_EQ(output.news().verdict, kVerdict);
    ASSERT_TRUE(output.news().killed);
    EXPECT_EQ(output.news().killed->host, "b-1.x");
  }
}

TEST(LauncherOutput, ABannerThatNeverEndsIsNotSwallowed) {
  LauncherOutput output;
  EXPECT_EQ(output.take(kFrame + "half\n"), "");
  EXPECT_EQ(output.finish(), kFrame + "half\n");
}

TEST(LauncherOutput, OfSlurmsOwnLinesThoseStayThatTellSomethingNew) {
  LauncherOutput output;
  EXPECT_EQ(output.take("srun: error: n1: task 0: Exited with exit code 3\n"
                        "srun: launch/slurm: _step_signal: Terminating StepId=9.0\n"
                        "slurmstepd-n1: error: *** STEP 9.0 ON n1 CANCELLED AT 2026-11-25T14:16:24 ***\n"
                        "srun: Force Terminated StepId=9.0\n"
                        "srun: error: n1: tasks 0-1: Killed\n"),
            "");
  for (const std::string line :
       {"slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2026-11-25T14:16:24 DUE TO TIME LIMIT ***",
        "slurmstepd-n1: error: Detected 1 oom_kill event in StepId=9.0.",
        "srun: error: n1: task 0: Exited with exit code 127",
        "srun: error: Unable to create step for job 7: More processors requested than permitted"}) {
    EXPECT_EQ(output.take(line + "\n"), line + "\n");
  }
}

JobNews news_of(const std::string& text) {
  LauncherOutput output;
  output.take(text);
  return output.news();
}

constexpr int exited(int code) { return code << 8; }

TEST(JobStatus, ALostRankIsOneLineWithItsCause) {
  const Status both = job_status(exited(137), news_of("octet rank 0: " + kVerdict + "\n" + kKilled));
  EXPECT_EQ(both.code(), StatusCode::kRankLost);
  EXPECT_EQ(both.message(), "rank 1 (host b) died: killed by signal 9 (Killed); last seen in layer 7, dispatch");
  EXPECT_EQ(job_status(exited(137), news_of(kKilled)).message(),
            "rank 1 (host b-1.x) died: killed by signal 9 (Killed)");
  EXPECT_EQ(job_status(exited(3), news_of("octet: " + kVerdict + "\n")).message(), kVerdict);
  const Status srun = job_status(exited(137), news_of("srun: error: n2: task 3: Killed\n"));
  EXPECT_EQ(srun.message(), "rank 3 (host n2) died: killed by a signal (Killed)");
  const Status several = job_status(exited(137), news_of("srun: error: n2: tasks 2-3: Out Of Memory\n"));
  EXPECT_EQ(several.message(), "rank 2 (host n2) died: killed by a signal (Out Of Memory)");
  EXPECT_EQ(job_status(exited(139), {}).code(), StatusCode::kRankLost);
  EXPECT_THAT(job_status(exited(139), {}).message(), HasSubstr("signal 11"));
}

TEST(JobStatus, CodesOfTheRanksAreTheJobs) {
  for (const int code : {0, 1, 2, 3, 130}) {
    EXPECT_EQ(job_status(exited(code), {}).exit_code(), code);
    EXPECT_EQ(job_status(exited(code), {}).message(), "") << "the ranks have said it";
  }
  EXPECT_EQ(job_status(exited(77), {}).exit_code(), 1);
  EXPECT_THAT(job_status(9, {}).message(), HasSubstr("signal 9"));
}

}  // namespace
}  // namespace octet
