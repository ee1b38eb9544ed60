// Real jobs under mpirun whose ranks are killed, stopped and kept away: each ends in time, with the one line that says
// why; and none ends that should go on.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "comm/network.h"

namespace octet {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::AllOf;
using testing::AnyOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;
using Clock = std::chrono::steady_clock;

constexpr int kNumRanks = 3;

// A folder for one job: jobs that start and end at the same time would make and remove the same session folder.
class SessionFolder {
 public:
  SessionFolder() { EXPECT_NE(mkdtemp(path_.data()), nullptr); }
  ~SessionFolder() { std::filesystem::remove_all(path_); }
  SessionFolder(const SessionFolder&) = delete;
  SessionFolder& operator=(const SessionFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_ = std::filesystem::temp_directory_path() / "octet-job-XXXXXX";
};

// mpirun of kNumRanks ranks of watchdog_program.
class Job {
 public:
  explicit Job(std::vector<std::string> arguments) {
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1);  // MPI keeps memory to the end of the process
    int ends[2] = {-1, -1};
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    output_ = UniqueFd(ends[0]);
    const UniqueFd write_end(ends[1]);
    std::vector<std::string> words = {"mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none"};
    words.insert(words.end(), {"--mca", "orte_tmpdir_base", session_.path(), "-n", std::to_string(kNumRanks)});
    words.push_back(OCTET_WATCHDOG_PROGRAM);
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, write_end.get(), 1);
    posix_spawn_file_actions_adddup2(&actions, write_end.get(), 2);
    EXPECT_EQ(posix_spawnp(&mpirun_, "mpirun", &actions, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
  }
  ~Job() {
    if (mpirun_ > 0) kill(mpirun_, SIGTERM);
    if (mpirun_ > 0) waitpid(mpirun_, nullptr, 0);
  }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  // The process of a rank, once all of them work.
  pid_t process(int rank) {
    const auto deadline = Clock::now() + seconds(30);
    while (pids().size() < kNumRanks && Clock::now() < deadline) read_some(deadline);
    std::this_thread::sleep_for(milliseconds(200));  // into the midst of their work
    EXPECT_EQ(pids().size(), kNumRanks) << text_;
    return pids()[rank];
  }

  // Waits for the end; -1 if it does not come in time, else mpirun's exit code.
  int exit_code(milliseconds limit) {
    const auto deadline = Clock::now() + limit;
    while (read_some(deadline)) continue;
    int status = 0;
    while (waitpid(mpirun_, &status, WNOHANG) == 0) {
      if (Clock::now() > deadline) return -1;
      std::this_thread::sleep_for(milliseconds(5));
    }
    mpirun_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  const std::string& text() const { return text_; }

  // Lines that a watchdog printed, callbacks apart.
  std::vector<std::string> verdicts() const {
    std::vector<std::string> lines;
    for (size_t begin = 0; begin < text_.size();) {
      const size_t end = std::min(text_.find('\n', begin), text_.size());
      const std::string line = text_.substr(begin, end - begin);
      if (line.starts_with("octet rank") && line.find("called back") == std::string::npos) lines.push_back(line);
      begin = end + 1;
    }
    return lines;
  }

 private:
  std::map<int, pid_t> pids() const {
    std::map<int, pid_t> found;
    const char* line = text_.c_str();
    for (int rank = 0, pid = 0; (line = std::strstr(line, "rank ")) != nullptr; ++line) {
      if (std::sscanf(line, "rank %d is process %d", &rank, &pid) == 2) found[rank] = pid;
    }
    return found;
  }

  // False at the end of the output, or of the time.
  bool read_some(Clock::time_point deadline) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now()).count();
    pollfd poll_fd{output_.get(), POLLIN, 0};
    if (left <= 0 || poll(&poll_fd, 1, static_cast<int>(left)) <= 0) return false;
    char block[4096];
    const ssize_t count = read(output_.get(), block, sizeof(block));
    if (count > 0) text_.append(block, static_cast<size_t>(count));
    return count > 0;
  }

  const SessionFolder session_;
  pid_t mpirun_ = -1;
  UniqueFd output_;
  std::string text_;
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

TEST_F(WatchdogJob, LongComputingAndIdlenessAreNoHang) {
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
