// octet bench serve against a real service.
#include "tests/service/serve_job.h"

namespace octet::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class BenchServeTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { job_ = std::make_unique<ServeJob>(); }
  static void TearDownTestSuite() { job_.reset(); }
  static std::vector<std::string> bench(const std::vector<std::string>& flags) {
    return std::vector<std::string>{"bench", "serve", "--server", job_->address()} + flags;
  }
  static inline std::unique_ptr<ServeJob> job_;
};

void expect_ordered(const json& figure) {
  EXPECT_GT(figure["p50"], 0);
  EXPECT_LE(figure["p50"], figure["p90"]);
  EXPECT_LE(figure["p90"], figure["p99"]);
  EXPECT_LE(figure["p99"], figure["max"]);
  EXPECT_LE(figure["mean"], figure["max"]);
}

TEST_F(BenchServeTest, ClosedLoopsAnswerEveryRequest) {
  const json report = json_of(bench({"--concurrency", "1,4", "--num-requests", "8", "--prompt-tokens", "uniform:4-40",
                                     "--output-tokens", "6", "--ttft-limit", "1000", "--json"}));
  EXPECT_EQ(report["benchmark"], "serve");
  ASSERT_THAT(report["results"], SizeIs(2));
  std::vector<json> lengths;  // of the prompts of each load
  for (const json& result : report["results"]) {
    EXPECT_EQ(result["answered"], 8);
    EXPECT_EQ(result["good"], 8);
    EXPECT_EQ(result["failed"], 0);
    EXPECT_NEAR(result["output_tokens_per_s"].get<double>() * result["seconds"].get<double>(), 8 * 6, 1e-6);
    for (const char* figure : {"ttft_ms", "tpot_ms", "itl_ms", "e2e_ms"}) expect_ordered(result["kinds"][0][figure]);
    ASSERT_THAT(result["requests"], SizeIs(8));
    lengths.emplace_back(json::array());
    for (const json& request : result["requests"]) {
      lengths.back().push_back(request["prompt_tokens"]);
      EXPECT_EQ(request["output_tokens"], 6);
      EXPECT_LE(request["ttft_ms"], request["e2e_ms"]);
      EXPECT_GE(request["prompt_tokens"], 4);
      EXPECT_LE(request["prompt_tokens"], 40);
    }
  }
  EXPECT_NE(lengths[0], lengths[1]) << "loads have prompts of their own";
}

TEST_F(BenchServeTest, OpenLoopsSendWhenRequestsAreDue) {
  const json report = json_of(bench({"--rate", "40", "--num-requests", "20", "--prompt-tokens", "8", "--output-tokens",
                                     "lognormal:4,0.5", "--tpot-limit", "0.000001", "--json"}));
  const json& result = report["results"][0];
  EXPECT_EQ(result["rate"], 40);
  EXPECT_EQ(result["answered"], 20);
  EXPECT_LT(result["good"], 20) << "no service is as fast as that";
  double last = 0;
  for (const json& request : result["requests"]) {
    EXPECT_GT(request["arrival_s"], last);
    last = request["arrival_s"];
  }
  EXPECT_GT(last, 0.1);
  EXPECT_LT(last, 2);
}

TEST_F(BenchServeTest, TracesAndPrefixesAreReportedByKind) {
  const TempFolder folder;
  write_file(folder / "trace.jsonl",
             "{\"arrival_s\": 0.2, \"prompt_tokens\": 5, \"output_tokens\": 3, \"kind\": \"short\"}\n\n"
             "{\"arrival_s\": 0, \"prompt_tokens\": 600, \"output_tokens\": 2, \"kind\": \"long\"}\n");
  const json trace = json_of(bench({"--trace", folder / "trace.jsonl", "--time-scale", "0.5", "--json"}))["results"][0];
  ASSERT_THAT(trace["kinds"], SizeIs(3));
  EXPECT_EQ(trace["kinds"][1]["kind"], "long");
  EXPECT_EQ(trace["kinds"][2]["kind"], "short");
  EXPECT_EQ(trace["requests"][1]["arrival_s"], 0.1);

  const json prefix = json_of(bench({"--num-requests", "4", "--prompt-tokens", "300", "--same-prefix", "256",
                                     "--output-tokens", "2", "--json"}))["results"][0];
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(prefix["requests"][i]["cached_tokens"], i % 2 == 0 ? 0 : 256);
    EXPECT_EQ(prefix["requests"][i]["kind"], i % 2 == 0 ? "first with its prefix" : "later with its prefix");
  }
}

TEST_F(BenchServeTest, ItsRequestsAreABatchsToo) {
  const TempFolder folder;
  const std::string requests = folder / "requests.jsonl", answers = folder / "answers.jsonl";
  const std::string table = output_of(
      bench({"--num-requests", "3", "--prompt-tokens", "9", "--output-tokens", "4", "--write-requests", requests}));
  EXPECT_THAT(table, HasSubstr("3 answered, 0 refused, 0 failed"));
  output_of({"generate", "--input", requests, "--output", answers});
  const auto lines = lines_of(read_file(answers));
  ASSERT_EQ(lines.size(), 3U);
  for (const std::string& line : lines) {
    EXPECT_EQ(json::parse(line)["usage"], json({{"prompt_tokens", 9}, {"completion_tokens", 4}}));
  }
}

TEST_F(BenchServeTest, WrongValuesAreRefusedByName) {
  const TempFolder folder;
  write_file(folder / "trace.jsonl", "{\"arrival_s\": 1, \"prompt_tokens\": 5}\n");
  expect_refused(bench({"--prompt-tokens", "many"}), {"--prompt-tokens", "many"});
  expect_refused(bench({"--output-tokens", "uniform:9-3"}), {"--output-tokens", "uniform:9-3"});
  expect_refused(bench({"--prompt-tokens", "5000"}), {"4096"});
  expect_refused(bench({"--trace", folder / "trace.jsonl"}), {"trace.jsonl", "line 1", "output_tokens"});
  expect_refused(bench({"--rate", "1", "--concurrency", "1"}), {"--rate"});
  expect_refused({"bench", "serve"}, {"--server"});
}

}  // namespace
}  // namespace octet::testing
