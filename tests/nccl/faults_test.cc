// Jobs of ranks with software GPUs that are harmed: each ends in time, with the one line that names rank, layer and
// collective, and with an exit code that is not 0.
#include <signal.h>

#include <chrono>
#include <string>
#include <vector>

#include "watched_job.h"

namespace octet {
namespace {

using std::chrono::seconds;
using testing::AllOf;
using testing::ContainsRegex;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr int kNumRanks = 3;
// Faults hit NCCL's 12th operation; the group's collective number 1 was the making of its communicator.

// Limits in milliseconds, far above what a busy machine may hold up a rank; options: mpirun's.
class NcclJob : public WatchedJob {
 public:
  NcclJob(const std::string& mode, const std::string& silence, const std::string& collective,
          std::vector<std::string> environment = {}, const std::vector<std::string>& options = {})
      : WatchedJob(kNumRanks, {OCTET_WATCHDOG_PROGRAM, mode, "60", silence, collective, "cuda"},
                   settings(std::move(environment)), options) {}

 private:
  // Failures of NCCL are the communicator's asynchronous errors, as on a GPU.
  static std::vector<std::string> settings(std::vector<std::string> more) {
    more.insert(more.end(), {"LD_LIBRARY_PATH", "SOFTGPU_DEVICES=3", "SOFTGPU_THREADS=1", "SOFTGPU_NCCL_FATAL=0"});
    return more;
  }
};

TEST(NcclFaults, KilledRankIsNamed) {
  // mpirun, too, notices, and kills the others, which do not listen to its SIGTERM, after twice that many seconds.
  NcclJob job("work", "10000", "120000", {}, {"--mca", "odls_base_sigkill_timeout", "2"});
  kill(job.process(1), SIGKILL);
  EXPECT_GT(job.exit_code(seconds(60)), 0) << job.text();
  ASSERT_THAT(job.verdicts(), Not(IsEmpty())) << job.text();
  EXPECT_THAT(job.verdicts(), Each(AllOf(HasSubstr("rank 1 (host "), ContainsRegex("\\) died: "))));
}

TEST(NcclFaults, StoppedRankIsNamedWithItsPlace) {
  NcclJob job("work", "6000", "120000");
  kill(job.process(2), SIGSTOP);
  EXPECT_EQ(job.exit_code(seconds(60)), 3) << job.text();
  ASSERT_EQ(job.verdicts().size(), 1) << job.text();
  EXPECT_THAT(job.verdicts()[0], AllOf(HasSubstr("rank 2 (host "),
                                       ContainsRegex("silent for .* s; last seen in (layer 7, dispatch|plan)")));
}

TEST(NcclFaults, RankThatDoesNotComeIsNamedWithCollectiveAndBytes) {
  NcclJob job("absent", "30000", "6000");
  EXPECT_EQ(job.exit_code(seconds(60)), 3) << job.text();
  ASSERT_EQ(job.verdicts().size(), 1) << job.text();
  EXPECT_THAT(job.verdicts()[0],
              AllOf(HasSubstr("not entered by rank 1 (host "), ContainsRegex("in .* number [0-9]+")));
}

// The device of rank 1 hangs in its collective while its host waits, like a GPU that has lost its link.
TEST(NcclFaults, StalledDeviceEndsTheJobInsideTheNamedCollective) {
  NcclJob job("work", "30000", "6000", {"SOFTGPU_NCCL_FAULT=1:12:stall"});
  EXPECT_EQ(job.exit_code(seconds(60)), 3) << job.text();
  ASSERT_EQ(job.verdicts().size(), 1) << job.text();
  EXPECT_THAT(job.verdicts()[0],
              ContainsRegex("in layer 7, dispatch: in all_to_all_v number 13 of ranks 0 1 2, received 0 of 512 bytes"));
}

TEST(NcclFaults, ErrorOfOneRankIsReportedByIt) {
  for (const char* kind : {"internal", "system"}) {
    NcclJob job("work", "20000", "120000", {std::string("SOFTGPU_NCCL_FAULT=1:12:") + kind});
    EXPECT_EQ(job.exit_code(seconds(60)), 3) << job.text();
    ASSERT_EQ(job.verdicts().size(), 1) << job.text();
    EXPECT_THAT(job.verdicts()[0],
                AllOf(HasSubstr("rank 1 (host "), ContainsRegex("NCCL: layer 7, dispatch: in all_to_all_v number 13")));
  }
}

}  // namespace
}  // namespace octet
