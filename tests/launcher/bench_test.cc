// octet bench ….
#include "tests/launcher/run_octet.h"

namespace octet::testing {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(BenchMakeModel, WritesAModelThatRuns) {
  const TempFolder folder;
  const std::string model = folder / "model";
  output_of({"bench", "make-model", model, "--shape", "tiny", "--layers", "3", "--seed", "5"});
  const json config = json_of({"inspect", model, "--json"})["config"];
  EXPECT_EQ(config["num_layers"], 3);
  EXPECT_EQ(config["num_experts"], 8);
  const json object = json_of({"generate", "--ids", "-", "--model", model, "--temperature", "0", "--max-tokens", "20",
                               "--ignore-eos", "--json", "--check-weights"},
                              {.input = "[5, 9, 200]"});
  EXPECT_EQ(object["token_ids"].size(), 20U);
  expect_refused({"bench", "make-model", model, "--shape", "tiny"}, {model});
  expect_refused({"bench", "make-model", folder / "other", "--shape", "huge"}, {"huge", "mixtral-1b-shape"});
  expect_refused({"bench", "make-model", folder / "other", "--shape", "tiny", "--top-k", "9"}, {"num_experts_per_tok"});
}

TEST(BenchGenerate, ReportsPrefillAndEveryNumberOfStreams) {
  const TempFolder folder;
  const std::string model = folder / "model";
  output_of({"bench", "make-model", model, "--shape", "tiny"});
  const std::vector<std::string> arguments = {"bench",    "generate", "--model",         model, "--streams", "1,3",
                                              "--rounds", "3",        "--prompt-tokens", "40",  "--context", "10",
                                              "--steps",  "4"};
  auto with_json = arguments;
  with_json.push_back("--json");
  const json results = json_of(with_json)["results"];
  ASSERT_EQ(results.size(), 3U);
  EXPECT_EQ(results[0]["what"], "prefill");
  EXPECT_EQ(results[0]["tokens_per_step"], 40);
  EXPECT_EQ(results[2]["streams"], 3);
  for (const json& result : results) {
    EXPECT_EQ(result["rounds"], 3);
    EXPECT_LE(result["tokens_per_s_min"], result["tokens_per_s"]);
    EXPECT_LE(result["tokens_per_s"], result["tokens_per_s_max"]);
    EXPECT_NEAR(result["seconds_per_step"].get<double>() * result["tokens_per_s"].get<double>(),
                result["tokens_per_step"].get<double>(), 1e-6);
    EXPECT_GT(result["limit_read_bytes_per_s"], 0);
    EXPECT_GT(result["share_of_bound"], 0);
  }
  EXPECT_THAT(lines_of(output_of(arguments)),
              ElementsAre(HasSubstr("tokens/s"), HasSubstr("prefill"), HasSubstr("decode"), HasSubstr("decode")));
}

TEST(BenchKernels, ChecksAndTimesEveryKernel) {
  const std::vector<std::string> arguments = {"bench",       "kernels", "--device", "cpu",  "--hidden",   "40",
                                              "--ffn",       "72",      "--heads",  "4",    "--kv-heads", "2",
                                              "--vocab",     "200",     "--tokens", "1,20", "--contexts", "70,100",
                                              "--weight-mb", "1",       "--rounds", "1"};
  auto stated = arguments;
  stated.insert(stated.end(), {"--device-file", "a100-80gb", "--json"});
  const json results = json_of(stated)["results"];
  EXPECT_EQ(results.size(), 2U * 3 + 3 * 2 * 3 + 2 * 4);  // products; attention over three types of pages; choices
  for (const json& line : results) {
    const double bound = std::max(line["bytes"].get<double>() / 2039e9, line["operations"].get<double>() / 312e12);
    EXPECT_NEAR(line["share_of_bound"], bound / line["ms"].get<double>() * 1e3, 1e-6) << line;
  }
  EXPECT_EQ(results[1]["bytes"], 40 * 40 * 2);
  EXPECT_EQ(results[1]["operations"], 2 * 20 * 40 * 40);
  EXPECT_EQ(results.back()["kernel"], "sample");
  EXPECT_EQ(results.back()["bytes"], 32 * 200 * 4);
  expect_refused({"bench", "kernels", "--heads", "3", "--kv-heads", "2"}, {"--heads 3", "--kv-heads 2"});
  expect_refused({"bench", "kernels", "--device-file", "h1000"}, {"h1000"});
}

TEST(Bench, MisspeltNamesAreRefusedWithAGuess) {
  expect_refused({"bench"}, {"octet bench --help"});
  expect_refused({"bench", "genrate"}, {"genrate", "generate"});
  expect_refused({"bench", "generate", "--stream", "1"}, {"--stream", "--streams", "octet bench generate --help"});
}

TEST(Bench, AConfigurationFileReachesTheInnerCommand) {
  const TempFolder folder;
  write_file(folder / "octet.toml", "shape = \"tiny\"\nlayers = 5\n# of another command\nmax-tokens = 3\n");
  output_of({"bench", "make-model", folder / "model", "--config", folder / "octet.toml"});
  EXPECT_EQ(json_of({"inspect", folder / "model", "--json"})["config"]["num_layers"], 5);
}

}  // namespace
}  // namespace octet::testing
