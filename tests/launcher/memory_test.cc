// Memory of loading a model of true Mixtral 8x7B layer shapes (12 GB): run by tests/run --full.
#include <sys/resource.h>

#include <cstdio>

#include "tests/launcher/run_octet.h"

namespace octet::testing {
namespace {

constexpr double kGigabyte = 1e9;

TEST(LongMemory, LoadingTakesHardlyMoreThanTheWeights) {
  const TempFolder folder;
  const auto space = std::filesystem::space(folder.path());
  if (static_cast<double>(space.available) < 14 * kGigabyte) {
    std::printf("\n*** NOT RUN: %s has %.1f GB free, the model needs 14 GB ***\n\n", folder.path().c_str(),
                static_cast<double>(space.available) / kGigabyte);
    return;
  }
  const std::filesystem::path model = folder.path() / "layers4";
  ASSERT_EQ(run_octet({"bench", "make-model", model.string(), "--shape", "mixtral-layers4"}).exit_code, 0);
  double weights = 0;
  for (const auto& entry : std::filesystem::directory_iterator(model)) {
    if (entry.path().extension() == ".safetensors") weights += static_cast<double>(entry.file_size());
  }
  const Outcome outcome = run_octet({"generate", "--model", model.string(), "--ids", "-", "--max-tokens", "2",
                                     "--temperature", "0", "--max-batch", "1", "--max-context", "64"},
                                    {.input = "[1, 5, 7]"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  rusage usage{};
  getrusage(RUSAGE_CHILDREN, &usage);  // the largest child so far
  const double peak = static_cast<double>(usage.ru_maxrss) * 1024;
  std::printf("weights %.2f GB, peak resident %.2f GB: %.3f times\n", weights / kGigabyte, peak / kGigabyte,
              peak / weights);
  EXPECT_LE(peak, 1.1 * weights);
}

}  // namespace
}  // namespace octet::testing
