// Jobs that cannot work on their GPUs say so in one line before they begin, with the exit code of wrong input.
#include <chrono>
#include <string>
#include <vector>

#include "watched_job.h"

namespace octet {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

// Two ranks with two software GPUs, the second with a setting of its own.
std::vector<std::string> two_ranks(const std::string& of_second) {
  const std::vector<std::string> program = {OCTET_COLLECTIVES_PROGRAM, "2", "cuda"};
  std::vector<std::string> words = program;
  words.insert(words.end(), {":", "-n", "1", "-x", of_second, "-x", "LD_LIBRARY_PATH", "-x", "SOFTGPU_DEVICES=2"});
  words.insert(words.end(), program.begin(), program.end());
  return words;
}

std::string text_of_refused(int num_ranks, const std::vector<std::string>& program, const std::string& num_devices) {
  WatchedJob job(num_ranks, program, {"LD_LIBRARY_PATH", "SOFTGPU_THREADS=1", "SOFTGPU_DEVICES=" + num_devices});
  EXPECT_EQ(job.exit_code(std::chrono::seconds(60)), 2) << job.text();
  return job.text();
}

TEST(NcclStartup, FewerGpusThanRanksAreNamedWithTheHost) {
  const std::string text = text_of_refused(3, {OCTET_COLLECTIVES_PROGRAM, "3", "cuda"}, "2");
  EXPECT_THAT(text, ContainsRegex("ranks 0 and 2 share a GPU: host .* runs 3 ranks and shows them 2 GPUs"));
}

TEST(NcclStartup, MixedGpusAreRefused) {
  const std::string text = text_of_refused(1, two_ranks("SOFTGPU_DEVICE_NAME=Other"), "2");
  EXPECT_THAT(text, ContainsRegex("rank 1 \\(host .*\\) has a .*, rank 0 \\(host .*\\) a .*: all ranks of a job need"));
}

TEST(NcclStartup, MixedVersionsOfNcclAreRefused) {
  const std::string text = text_of_refused(1, two_ranks("SOFTGPU_NCCL_VERSION=22703"), "2");
  EXPECT_THAT(text, HasSubstr("has NCCL 2.27.3, rank 0"));
}

}  // namespace
}  // namespace octet
