// Jobs over two hosts whose network is bad: slow, lossy, or gone in one direction or both.
#include "tests/launcher/tun_cable.h"
#include "tests/launcher/two_hosts.h"

namespace octet::testing {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class PartitionTest : public HostsTest {
 protected:
  bool connect() override {
    cable_ = std::make_unique<TunCable>(a_, b_);
    return cable_->is_plugged_in();
  }

  // Open MPI's daemon beyond a cut waits until TCP gives up its connection, which takes minutes: it holds no memory to
  // speak of, and no rank.
  void TearDown() override {
    for (const pid_t process : left_over("")) ::kill(process, SIGKILL);
    HostsTest::TearDown();
  }

  // Processes of the job that are left on either side, of that program or of any.
  std::vector<pid_t> left_over(const std::string& program) const {
    std::vector<pid_t> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      std::ifstream file(entry.path() / "environ");
      const std::string environment{std::istreambuf_iterator<char>(file), {}};
      std::error_code gone;
      const std::string running = std::filesystem::read_symlink(entry.path() / "exe", gone).filename();
      for (const std::string& host : {a_, b_}) {
        if (environment.find("OCTET_TEST_HOST=" + host + '\0') == std::string::npos) continue;
        if (program.empty() || running == program) found.push_back(std::stoi(entry.path().filename()));
      }
    }
    return found;
  }

  // A job that is at work when `harm` is done to the cable ends with exit code 3 and one line that names a rank beyond
  // it, in time, and leaves no rank behind.
  template <typename Harm>
  void expect_end(const Harm& harm) {
    const std::vector<std::string> endless = {
        "generate", "In the beginning", "--ignore-eos", "--max-tokens", "30000", "--heartbeat-limit", "6"};
    RunningOctet run(over_hosts(2, "", endless), on_a());
    run.read_bytes(20);
    harm(*cable_);
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < 6'000 && !run.has_ended(); ++i) ::usleep(10'000);
    const Seconds elapsed = std::chrono::steady_clock::now() - begin;
    for (int i = 0; i < 6'000 && !left_over("octet").empty(); ++i) ::usleep(10'000);
    // All but the program itself, which waits to be taken notice of.
    EXPECT_THAT(left_over("octet"), IsEmpty());
    for (const pid_t process : left_over("")) ::kill(process, SIGKILL);  // Open MPI's daemon has our standard output
    const Outcome outcome = run.wait();
    EXPECT_EQ(outcome.exit_code, 3) << outcome.err;
    ASSERT_THAT(lines_about_lost_ranks(outcome), SizeIs(1)) << outcome.err;
    EXPECT_THAT(lines_about_lost_ranks(outcome)[0], AnyOf(HasSubstr("rank 2 (host "), HasSubstr("rank 3 (host ")));
    EXPECT_LT(elapsed.count(), 40);
    std::printf("ended %.1f s after the harm: %s\n", elapsed.count(), lines_about_lost_ranks(outcome)[0].c_str());
  }

  std::unique_ptr<TunCable> cable_;
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
