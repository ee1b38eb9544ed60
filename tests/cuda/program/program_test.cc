// octet … --device cuda as a process.
#include <algorithm>
#include <set>

#include "tests/launcher/run_octet.h"

namespace octet::testing {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

const std::vector<std::string> kSmallKernels = {"bench",       "kernels", "--device", "cuda", "--hidden",   "64",
                                                "--ffn",       "96",      "--heads",  "4",    "--kv-heads", "2",
                                                "--vocab",     "100",     "--tokens", "3",    "--contexts", "100",
                                                "--weight-mb", "1",       "--rounds", "1"};

std::vector<std::string> with(std::vector<std::string> arguments, const std::vector<std::string>& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

Launch on_gpu(const std::string& name) { return {.environment = {{"SOFTGPU_DEVICE_NAME", name}}}; }

TEST(CudaProgram, BenchKernelsPutsEveryKernelBesideTheLimitsOfAGpuItKnows) {
  auto arguments = with(kSmallKernels, {"--json"});
  *std::ranges::find(arguments, "3") = "3,600";
  const json report = json_of(arguments, on_gpu("NVIDIA H200"));
  EXPECT_EQ(report["device"], "cuda (NVIDIA H200)");
  std::multiset<std::string> kernels;
  std::set<std::string> lines;
  for (const json& line : report["results"]) {
    kernels.insert(line["kernel"]);
    lines.insert(line["kernel"].get<std::string>() + " " + line["what"].get<std::string>());
    const double bound = std::max(line["bytes"].get<double>() / 4800e9, line["operations"].get<double>() / 989.4e12);
    EXPECT_NEAR(line["share_of_bound"], bound / line["ms"].get<double>() * 1e3, 1e-6) << line;
  }
  // 600 rows of 64 x 64, and 1,200 of eight experts: two products of 64 x 96, and one.
  EXPECT_TRUE(lines.contains("dense 600 rows"));
  EXPECT_TRUE(lines.contains("up 600 tokens, 8 experts, counted"));
  EXPECT_EQ(kernels.count("up"), 4U);
  EXPECT_EQ(kernels.count("down"), 4U);
  EXPECT_EQ(kernels.count("decode"), 4U);  // one stream and 16, pages in bf16 and int8
  EXPECT_EQ(kernels.count("prefill"), 2U);
  EXPECT_EQ(kernels.count("sample"), 8U);
  EXPECT_TRUE(lines.contains("decode 16 x 1 at 100 I8"));
}

TEST(CudaProgram, BenchKernelsSaysWhereNoLimitsAreKnown) {
  const Outcome unknown = run_octet(kSmallKernels, on_gpu("Some GPU"));
  EXPECT_EQ(unknown.exit_code, 0);
  EXPECT_THAT(unknown.err, AllOf(HasSubstr("none are known of Some GPU"), HasSubstr("--device-file")));
  EXPECT_THAT(lines_of(unknown.out).back(), HasSubstr("-"));
  const json stated = json_of(with(kSmallKernels, {"--json", "--device-file", "a100-80gb"}), on_gpu("Some GPU"));
  for (const json& line : stated["results"]) EXPECT_GT(line["share_of_bound"], 0);
  expect_refused(with(kSmallKernels, {"--clock", "cpu"}), {"--clock cpu", "cuda"});
}

TEST(CudaProgram, BenchGenerateComparesWithTheDevicesLimits) {
  const TempFolder folder;
  output_of({"bench", "make-model", folder / "model", "--shape", "tiny"});
  const std::vector<std::string> arguments = {
      "bench",     "generate", "--device", "cuda", "--model",         folder / "model",
      "--streams", "1,2",      "--rounds", "1",    "--prompt-tokens", "20",
      "--context", "5",        "--steps",  "2",    "--json"};
  const json stated = json_of(with(arguments, {"--device-file", "h100-sxm"}))["results"];
  ASSERT_EQ(stated.size(), 3U);
  for (const json& line : stated) {
    EXPECT_EQ(line["limit_read_bytes_per_s"], 3350e9);
    EXPECT_NEAR(line["share_of_read"],
                line["bytes_per_step"].get<double>() / 3350e9 / line["seconds_per_step"].get<double>(), 1e-9);
    EXPECT_GE(line["share_of_bound"], line["share_of_read"]);
  }
  for (const json& line : json_of(arguments, on_gpu("Some GPU"))["results"]) {
    EXPECT_GT(line["tokens_per_s"], 0);
    EXPECT_FALSE(line.contains("share_of_bound"));
  }
}

TEST(CudaProgram, AModelThatDoesNotFitIsRefusedWithTheNumbers) {
  const Launch small{.environment = {{"SOFTGPU_MEMORY_MB", "16"}}};
  expect_refused({"generate", "--device", "cuda", "--weights", "bf16", "word"},
                 {"weights 19.9 MB", "working memory", "KV cache", "16.8 MB free", "ranks would fit"}, small);
}

}  // namespace
}  // namespace octet::testing
