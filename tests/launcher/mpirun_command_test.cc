// The words of mpirun and srun, and what octet run makes of what they say.
#include "launcher/job/mpirun_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launcher/job/job_line.h"
#include "launcher/job/launcher_output.h"

namespace octet {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string line_of(const JobSpec& job) { return shell_line(mpirun_command(job)); }

TEST(MpirunCommand, OneHostNeedsLittle) {
  EXPECT_EQ(
      line_of({.num_ranks = 2, .local_slots = 2, .program = {"octet", "generate"}}),
      "mpirun -n 2 --bind-to none --mca pml ob1 --mca btl self,vader --mca oob_tcp_if_include lo --mca plm isolated "
      "octet generate");
}

TEST(MpirunCommand, WhatTheJobChoosesForItselfIsNotChosenTwice) {
  const std::string line =
      line_of({.num_ranks = 1, .interface = "eth0", .launcher_args = {"--mca", "btl", "self,tcp"}});
  EXPECT_THAT(line, AllOf(HasSubstr("--mca btl self,tcp"), Not(HasSubstr("vader"))));
}

TEST(MpirunCommand, MessagesAreCopiedTwiceWhereMemoryCannotBeRead) {
  EXPECT_THAT(line_of({.reads_memory = false}), HasSubstr(" --mca btl_vader_single_copy_mechanism none"));
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

const auto kNow = LauncherOutput::Clock::now();

// Of a job that has started.
LauncherOutput started() {
  LauncherOutput output;
  EXPECT_EQ(output.job_has_started(), "");
  return output;
}

TEST(LauncherOutput, KeepsUnknownBannersAndLinesWhateverThePieces) {
  const std::string all = "warning\n" + kAborted + "[b:12] 3 more processes have sent help message help-x\n" +
                          "octet: " + kVerdict + "\ndone -----\n" + kNoSlots + kKilled + "last";
  for (const size_t piece : {size_t{1}, size_t{7}, all.size()}) {
    LauncherOutput output = started();
    std::string passed;
    for (size_t at = 0; at < all.size(); at += piece) passed += output.take(all.substr(at, piece), kNow);
    passed += output.finish(true);
    EXPECT_EQ(passed, "warning\noctet: " + kVerdict + "\ndone -----\n" + kNoSlots + "last\n");
    EXPECT_EQ(output.news().verdict, "") << "verdicts are no text";
    ASSERT_TRUE(output.news().killed);
    EXPECT_EQ(output.news().killed->host, "b-1.x");
  }
}

TEST(LauncherOutput, ABannerThatDoesNotEndIsPassedOnSoon) {
  LauncherOutput output = started();
  EXPECT_EQ(output.take(kFrame + "half\n", kNow), "");
  ASSERT_TRUE(output.due());
  EXPECT_EQ(output.overdue(kNow), "");
  EXPECT_EQ(output.overdue(*output.due()), kFrame + "half\n");
  EXPECT_EQ(output.take("more\n", kNow), "more\n");
  EXPECT_FALSE(output.due());
  EXPECT_EQ(output.take(kFrame, kNow), "");
  EXPECT_EQ(output.finish(false), kFrame);
  std::string passed = output.take(kFrame, kNow);
  for (int i = 0; i < 1000; ++i) passed += output.take("line\n", kNow);
  EXPECT_GT(passed.size(), 4000U) << "however soon they come";
}

TEST(LauncherOutput, MeansNothingOnceARankWritesToIt) {
  LauncherOutput output;
  const std::string notice = std::string("octet rank 1: ") + kNoticeOfDetour + ": it does not answer\n";
  EXPECT_EQ(output.take(notice, kNow), notice);
  EXPECT_FALSE(output.is_launchers_own());
  for (const std::string& text : {kKilled, kAborted, std::string("mpirun: Forwarding signal 10 to job\n"), kFrame}) {
    EXPECT_EQ(output.take(text, kNow), text);
  }
  EXPECT_FALSE(output.news().killed);
}

TEST(LauncherOutput, AReaderOfTheJobThatHasEnoughIsNoNews) {
  LauncherOutput output;
  output.job_has_started();
  EXPECT_EQ(output.take("[vm:10208] mpirun: SIGPIPE detected on fd 13 - aborting\n"
                        "mpirun: abort is already in progress...hit ctrl-c again to forcibly terminate\n",
                        kNow),
            "");
}

TEST(LauncherOutput, ALauncherThatStartsNothingIsToldInOneLine) {
  LauncherOutput output;
  EXPECT_EQ(output.take(kNoSlots + "and so on\n", kNow), "");
  EXPECT_EQ(output.finish(true), "");
  EXPECT_EQ(output.news().complaint, "There are not enough slots available in the system");
  EXPECT_FALSE(output.news().has_started);
}

TEST(LauncherOutput, WhatItSaysBeforeRanksComeIsKeptForAWhile) {
  LauncherOutput output;
  EXPECT_EQ(output.take("Warning: a new host key\n", kNow), "");
  EXPECT_EQ(output.overdue(kNow), "");
  LauncherOutput other = output, at_end = output;
  EXPECT_EQ(output.overdue(*output.due()), "Warning: a new host key\n");
  EXPECT_EQ(output.take("at once\n", kNow), "at once\n");
  EXPECT_EQ(other.job_has_started(), "Warning: a new host key\n");
  EXPECT_EQ(at_end.finish(false), "Warning: a new host key\n");
}

TEST(LauncherOutput, OfSlurmsOwnLinesThoseStayThatTellSomethingNew) {
  LauncherOutput output = started();
  EXPECT_EQ(output.take("srun: error: n1: task 0: Exited with exit code 3\n"
                        "srun: launch/slurm: _step_signal: Terminating StepId=9.0\n"
                        "slurmstepd-n1: error: *** STEP 9.0 ON n1 CANCELLED AT 2026-11-25T14:16:24 ***\n"
                        "srun: Force Terminated StepId=9.0\n"
                        "srun: error: n1: tasks 0-1: Killed\n",
                        kNow),
            "");
  for (const std::string line :
       {"slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2026-11-25T14:16:24 DUE TO TIME LIMIT ***",
        "slurmstepd-n1: error: Detected 1 oom_kill event in StepId=9.0.",
        "srun: error: n1: task 0: Exited with exit code 127",
        "srun: error: Unable to create step for job 7: More processors requested than permitted"}) {
    EXPECT_EQ(output.take(line + "\n", kNow), line + "\n");
  }
}

TEST(FirstComplaint, IsTheFirstParagraphInOneLine) {
  EXPECT_EQ(first_complaint(kFrame + "The value of the\nparameter was set to a path:\n\n  agent: ssh\n\nPlease\n"),
            "The value of the parameter was set to a path: agent: ssh");
  EXPECT_EQ(first_complaint("[b:1] ORTE_ERROR_LOG: Fatal\nssh: no route\n" + kFrame + "ORTE was unable\n"),
            "ssh: no route");
  EXPECT_EQ(first_complaint(kFrame), "");
}

JobNews news_of(const std::string& text, const std::string& verdict = "") {
  LauncherOutput output = started();
  output.take(text, kNow);
  JobNews news = output.news();
  news.verdict = verdict;
  return news;
}

constexpr int exited(int code) { return code << 8; }

TEST(JobStatus, ALostRankIsOneLineWithItsCause) {
  const Status both = job_status(exited(137), news_of(kKilled, kVerdict));
  EXPECT_EQ(both.code(), StatusCode::kRankLost);
  EXPECT_EQ(both.message(), "rank 1 (host b) died: killed by signal 9 (Killed); last seen in layer 7, dispatch");
  EXPECT_EQ(job_status(exited(137), news_of(kKilled)).message(),
            "rank 1 (host b-1.x) died: killed by signal 9 (Killed)");
  EXPECT_EQ(job_status(exited(3), news_of("", kVerdict)).message(), kVerdict);
  const Status srun = job_status(exited(137), news_of("srun: error: n2: task 3: Killed\n"));
  EXPECT_EQ(srun.message(), "rank 3 (host n2) died: killed by a signal (Killed)");
  const Status several = job_status(exited(137), news_of("srun: error: n2: tasks 2-3: Out Of Memory\n"));
  EXPECT_EQ(several.message(), "rank 2 (host n2) died: killed by a signal (Out Of Memory)");
  const JobNews started = news_of("");
  EXPECT_EQ(job_status(exited(139), started).code(), StatusCode::kRankLost);
  EXPECT_THAT(job_status(exited(139), started).message(), HasSubstr("signal 11"));
}

TEST(JobStatus, CodesOfTheRanksAreTheJobs) {
  const JobNews started = news_of("");
  for (const int code : {0, 1, 2, 3, 130}) {
    EXPECT_EQ(job_status(exited(code), started).exit_code(), code);
    EXPECT_EQ(job_status(exited(code), started).message(), "") << "the ranks have said it";
  }
  EXPECT_EQ(job_status(exited(77), started).exit_code(), 1);
  EXPECT_THAT(job_status(9, started).message(), HasSubstr("signal 9"));
}

TEST(JobStatus, ALaunchThatFailedIsNoLostRank) {
  JobNews news;
  news.complaint = "no ssh";
  for (const int code : {1, 3, 133, 139, 213, 243, 255}) {
    const Status status = job_status(exited(code), news);
    EXPECT_EQ(status.code(), StatusCode::kFailed);
    EXPECT_THAT(status.message(), AllOf(HasSubstr("cannot be started: no ssh"), HasSubstr(std::to_string(code))));
  }
  EXPECT_EQ(job_status(exited(243), news_of("")).code(), StatusCode::kFailed) << "there is no signal 115";
}

}  // namespace
}  // namespace octet
