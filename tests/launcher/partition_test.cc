// Jobs over two hosts whose network is bad: slow, lossy, or gone in one direction or both.
#include <sys/stat.h>

#include "tests/launcher/tun_cable.h"
#include "tests/launcher/two_hosts.h"

namespace octet::testing {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// What starts daemons on the other host, as sshd does: no descendant of the job, and at work beyond the cut.
class ShellServer {
 public:
  // Calls come by the pipe at `calls`, a line each: a file that is made once the call has ended, and words for `enter`.
  ShellServer(const std::string& calls, const std::string& enter) {
    const std::string script = "exec 3<>" + calls + "; while read -r end host words <&3; do (" + enter +
                               " \"$host\" /bin/sh -c \"$words\"; : >\"$end\") 3<&- </dev/null >/dev/null 2>&1 & done";
    pid_ = ::fork();
    if (pid_ == 0) {
      ::execl("/bin/sh", "sh", "-c", script.c_str(), nullptr);
      ::_exit(127);
    }
  }
  ~ShellServer() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  ShellServer(const ShellServer&) = delete;
  ShellServer& operator=(const ShellServer&) = delete;

 private:
  pid_t pid_ = -1;
};

class PartitionTest : public HostsTest {
 protected:
  void SetUp() override {
    HostsTest::SetUp();
    if (IsSkipped()) return;
    const std::string calls = folder_ / "calls";
    ASSERT_EQ(::mkfifo(calls.c_str(), 0600), 0);
    server_ = std::make_unique<ShellServer>(calls, folder_ / "enter");
    // As ssh does, it ends when what it has called ends, and does not notice that beyond a cut.
    write_script("agent", "shift\nprintf '%s\\n' \"" + calls + ".$$ " + b_ + " $*\" >" + calls + "\nuntil [ -e " +
                              calls + ".$$ ] && [ ! -e " + calls + ".cut ]; do sleep 0.1; done\n");
  }
  bool connect() override {
    cable_ = std::make_unique<TunCable>(a_, b_);
    return cable_->is_plugged_in();
  }

  void TearDown() override {
    for (const pid_t process : left_over()) ::kill(process, SIGKILL);
    HostsTest::TearDown();
  }

  // Processes of the job that are left on either side.
  std::vector<pid_t> left_over() const {
    std::vector<pid_t> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      std::ifstream file(entry.path() / "environ");
      const std::string environment{std::istreambuf_iterator<char>(file), {}};
      for (const std::string& host : {a_, b_}) {
        if (environment.find("OCTET_TEST_HOST=" + host + '\0') == std::string::npos) continue;
        found.push_back(std::stoi(entry.path().filename()));
      }
    }
    return found;
  }

  // A job that is at work when `harm` is done to the cable ends with exit code 3 and one line that names a rank beyond
  // it, in time, and leaves nothing behind on either side: no rank, no daemon of Open MPI, no ssh that holds its
  // output.
  template <typename Harm>
  void expect_end(const Harm& harm) {
    const std::vector<std::string> endless = {
        "generate", "In the beginning", "--ignore-eos", "--max-tokens", "30000", "--heartbeat-limit", "6"};
    RunningOctet run(over_hosts(2, "", endless), on_a());
    run.read_bytes(20);
    write_file(folder_ / "calls.cut", "");
    harm(*cable_);
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < 6'000 && !run.has_ended(); ++i) ::usleep(10'000);
    const Seconds elapsed = std::chrono::steady_clock::now() - begin;
    for (int i = 0; i < 6'000 && !left_over().empty(); ++i) ::usleep(10'000);
    EXPECT_THAT(left_over(), IsEmpty());
    const Outcome outcome = run.wait();
    EXPECT_EQ(outcome.exit_code, 3) << outcome.err;
    ASSERT_THAT(lines_about_lost_ranks(outcome), SizeIs(1)) << outcome.err;
    EXPECT_THAT(lines_about_lost_ranks(outcome)[0], AnyOf(HasSubstr("rank 2 (host "), HasSubstr("rank 3 (host ")));
    EXPECT_LT(elapsed.count(), 40);
    std::printf("ended %.1f s after the harm: %s\n", elapsed.count(), lines_about_lost_ranks(outcome)[0].c_str());
  }

  std::unique_ptr<TunCable> cable_;
  std::unique_ptr<ShellServer> server_;
};

TEST_F(PartitionTest, LossAndDelayChangeNoResult) {
  cable_->lost_per_mille = 50;
  cable_->delay_ms = 5;
  const std::vector<std::string> command = {"generate", "In the beginning", "--temperature", "0", "--max-tokens", "8"};
  EXPECT_EQ(output_of(over_hosts(1, "", command), on_a()), output_of(command));
}

TEST_F(PartitionTest, LongDelayOfHalfASecondChangesNoResult) {
  cable_->delay_ms = 500;
  const std::vector<std::string> command = {"generate", "In the beginning", "--temperature", "0", "--max-tokens", "2"};
  EXPECT_EQ(output_of(over_hosts(1, "", command), on_a()), output_of(command));
}

TEST_F(PartitionTest, LongCutInBothDirectionsEndsTheJobOnBothSides) {
  expect_end([](TunCable& cable) { cable.cut_from_a = cable.cut_from_b = true; });
}

TEST_F(PartitionTest, LongCutOfWhatTheFirstHostSendsEndsTheJobOnBothSides) {
  expect_end([](TunCable& cable) { cable.cut_from_a = true; });
}

TEST_F(PartitionTest, LongCutOfWhatTheSecondHostSendsEndsTheJobOnBothSides) {
  expect_end([](TunCable& cable) { cable.cut_from_b = true; });
}

}  // namespace
}  // namespace octet::testing
