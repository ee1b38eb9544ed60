// The commands as jobs of octet run whose ranks have a software GPU each: what one GPU gives, from several.
#include <cmath>

#include "tests/service/serve_job.h"

namespace octet::testing {
namespace {

using nlohmann::json;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Where one GPU's most likely token leads by less, another layout may choose the next: its logits differ in last bits.
constexpr double kNearTie = 0.2;

const std::vector<std::string> kOnGpus = {"--device",    "cuda", "--weights",     "bf16",
                                          "--max-batch", "4",    "--max-context", "256"};
const std::vector<std::string> kGreedy = {"--temperature", "0", "--ignore-eos"};

class GpuJob : public JobTest {
 protected:
  void SetUp() override {
    JobTest::SetUp();
    setenv("SOFTGPU_THREADS", "1", 1);  // the ranks share the machine's cores
    have_gpus(8);
  }
  static void have_gpus(int number) { setenv("SOFTGPU_DEVICES", std::to_string(number).c_str(), 1); }
};

// A job of several ranks, or of a process alone.
std::vector<std::string> on_gpus(int num_ranks, const std::vector<std::string>& command) {
  return num_ranks == 1 ? command + kOnGpus : on_ranks(num_ranks, command + kOnGpus);
}

std::vector<int> ids_of(const json& answer) { return answer["token_ids"].get<std::vector<int>>(); }

// The tokens of `many` are those of `one` up to the first near tie. Both have log probabilities.
void expect_same_tokens(const json& many, const json& one) {
  const std::vector<int> theirs = ids_of(many), ours = ids_of(one);
  ASSERT_EQ(theirs.size(), ours.size());
  const auto [different, expected] = std::ranges::mismatch(theirs, ours);
  if (different == theirs.end()) return;
  const json& place = one["logprobs"][static_cast<size_t>(expected - ours.begin())];
  for (const json& candidate : place["top"]) {
    if (candidate[0] == *different && place["logprob"].get<double>() - candidate[1].get<double>() < kNearTie) return;
  }
  ADD_FAILURE() << "tokens " << spaced(many["token_ids"]) << " instead of " << spaced(one["token_ids"]);
}

TEST_F(GpuJob, GenerateGivesTheTokensOfOneGpu) {
  const auto command =
      std::vector<std::string>{"generate", "In the beginning", "--max-tokens", "5", "--logprobs", "5", "--json"} +
      kGreedy;
  const json one = json_of(on_gpus(1, command));
  expect_same_tokens(json_of(on_gpus(2, command + std::vector<std::string>{"--exchange", "all-to-all"})), one);
  expect_same_tokens(json_of(on_gpus(4, command)), one);
}

TEST_F(GpuJob, ABatchIsAnsweredOverTwoAttentionGroups) {
  const TempFolder folder;
  const std::string input = folder / "in.jsonl", output = folder / "out.jsonl";
  const std::vector<std::string> prompts = {"In the beginning", "The LORD is my shepherd", "And it came to pass"};
  std::string lines = "{\"prompt\": 7}\n";
  for (const std::string& prompt : prompts) lines += json{{"id", prompt}, {"prompt", prompt}}.dump() + "\n";
  write_file(input, lines);
  const std::vector<std::string> flags = std::vector<std::string>{"--max-tokens", "4", "--logprobs", "5"} + kGreedy;
  const Outcome outcome = run_octet(
      on_gpus(4, std::vector<std::string>{"generate", "--input", input, "--output", output, "--tp", "2"} + flags));
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  size_t answered = 0, refused = 0;
  for (const std::string& line : lines_of(read_file(output))) {
    const json answer = json::parse(line);
    if (answer.contains("error")) {
      ++refused;
      continue;
    }
    ++answered;
    const std::string prompt = answer["id"];
    expect_same_tokens(answer, json_of(on_gpus(1, std::vector<std::string>{"generate", prompt, "--json"} + flags)));
  }
  EXPECT_EQ(answered, prompts.size());
  EXPECT_EQ(refused, 1U);
}

TEST_F(GpuJob, ChatAnswersEveryMessage) {
  const auto command = std::vector<std::string>{"chat", "--max-tokens", "4"} + kGreedy;
  const Launch launch{.input = "Hello\nWho are you?\n"};
  const std::string one = output_of(on_gpus(1, command), launch);
  EXPECT_EQ(output_of(on_gpus(2, command), launch), one);
}

TEST_F(GpuJob, PerplexityIsThatOfOneGpu) {
  const TempFolder folder;
  const std::string text = folder / "text";
  write_file(text, read_file(kDemoModel / "heldout.en.txt").substr(0, 150));
  const std::vector<std::string> command = {"perplexity", text, "--context", "32", "--json"};
  const json one = json_of(on_gpus(1, command));
  for (const char* exchange : {"all-to-all", "replicated"}) {
    const json many = json_of(on_gpus(4, command + std::vector<std::string>{"--exchange", exchange}));
    EXPECT_EQ(many["tokens_scored"], one["tokens_scored"]);
    EXPECT_NEAR(many["perplexity"].get<double>() / one["perplexity"].get<double>(), 1, 0.01) << exchange;
  }
}

TEST_F(GpuJob, LogitsAreWithinTheToleranceOfOneGpus) {
  const TempFolder folder;
  const std::string ids = folder / "ids.json", out = folder / "logits";
  write_file(ids, "[1, 5, 9, 30, 77]");
  output_of(on_gpus(2, {"logits", "--ids", ids, "--out", out}));
  const std::string many = read_file(out);
  output_of(on_gpus(1, {"logits", "--ids", ids, "--out", out}));
  const std::string one = read_file(out);
  ASSERT_EQ(many.size(), one.size());
  // The same header, then fp32.
  uint64_t header = 0;
  std::memcpy(&header, one.data(), sizeof(header));
  const size_t begin = sizeof(header) + header;
  EXPECT_EQ(many.substr(0, begin), one.substr(0, begin));
  float largest = 0, difference = 0;
  for (size_t at = begin; at < one.size(); at += sizeof(float)) {
    float ours = 0, theirs = 0;
    std::memcpy(&ours, one.data() + at, sizeof(float));
    std::memcpy(&theirs, many.data() + at, sizeof(float));
    largest = std::max(largest, std::abs(ours));
    difference = std::max(difference, std::abs(ours - theirs));
  }
  EXPECT_LT(difference, 0.02F * largest);
  EXPECT_GT(largest, 0);
}

class GpuService : public GpuJob, public ::testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(Ranks, GpuService, ::testing::Values(2, 4));

// Four ranks are two attention groups.
TEST_P(GpuService, AnswersDrainsAndEndsWell) {
  constexpr int64_t kTokens = 16;
  ServeJob job({.num_ranks = GetParam(), .flags = kOnGpus + std::vector<std::string>{"--tp", "2"}});
  const auto command = std::vector<std::string>{"generate", "In the beginning", "--max-tokens", "5"} + kGreedy;
  EXPECT_EQ(output_of(command + std::vector<std::string>{"--server", job.address()}), output_of(on_gpus(1, command)));
  Streams streams(job.client());
  for (const char* prompt : {"In the beginning", "The LORD is", "And it came"}) {
    streams.begin(greedy_call(prompt, kTokens));
  }
  ASSERT_TRUE(streams.listen_until_all_speak());
  job.run().send(SIGTERM);
  ASSERT_TRUE(streams.listen_to_the_end());
  for (size_t i = 0; i < streams.size(); ++i) {
    EXPECT_TRUE(streams[i].end->ok()) << streams[i].end->status.message();
    EXPECT_THAT(streams[i].token_ids, SizeIs(kTokens));
  }
  const Outcome outcome = job.run().wait();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(lines_about_lost_ranks(outcome), IsEmpty()) << outcome.err;
}

TEST_F(GpuJob, BenchServeMeasuresAService) {
  ServeJob job({.num_ranks = 2, .flags = kOnGpus});
  const json report = json_of({"bench", "serve", "--server", job.address(), "--num-requests", "2", "--prompt-tokens",
                               "5", "--output-tokens", "3", "--concurrency", "2", "--json"});
  ASSERT_THAT(report["results"], SizeIs(1));
  EXPECT_THAT(report["results"][0]["requests"], SizeIs(2));
}

TEST_F(GpuJob, AServiceWhoseRankDiesTellsItsClientsAndNamesIt) {
  ServeJob job({.num_ranks = 2, .flags = kOnGpus});
  Streams streams(job.client());
  streams.begin(greedy_call("In the beginning", 200));
  ASSERT_TRUE(streams.listen_until_all_speak());
  const pid_t process = process_of_rank(job.run(), 1);
  ASSERT_GT(process, 0);
  ::kill(process, SIGKILL);
  ASSERT_TRUE(streams.listen_to_the_end());
  EXPECT_EQ(streams[0].end->code, RpcCode::kUnavailable) << streams[0].end->status.message();
  const Outcome outcome = job.run().wait();
  EXPECT_EQ(outcome.exit_code, 3) << outcome.err;
  EXPECT_THAT(outcome.err, ContainsRegex("rank 1 \\(host .*\\) died: "));
}

TEST_F(GpuJob, BenchScalingCountsTheBytesOfTheFormulas) {
  const json report =
      json_of(on_ranks(2, {"bench", "scaling", "--device", "cuda", "--weights", "bf16", "--streams", "2", "--steps",
                           "2", "--context", "3", "--prompt-tokens", "0", "--rounds", "1", "--json"}));
  ASSERT_THAT(report["results"], SizeIs(3));  // one rank; two as ep 2 and as etp 2
  for (const json& line : report["results"]) {
    EXPECT_GT(line["tokens_per_s"], 0);
    for (const auto& [what, bytes] : line["bytes_per_token"].items()) {
      EXPECT_NEAR(bytes.get<double>(), line["bytes_per_token_formula"][what].get<double>(), 1e-6) << what;
    }
  }
}

TEST_F(GpuJob, BenchExchangeChecksWhatComesHome) {
  const json report = json_of(on_ranks(
      4, {"bench", "exchange", "--device", "cuda", "--rows", "5,16", "--hidden", "40", "--rounds", "1", "--json"}));
  ASSERT_THAT(report["results"], SizeIs(2 * 2 * 3));
  for (const json& line : report["results"]) {
    EXPECT_GT(line["us"], 0);
    EXPECT_FALSE(line.contains("of_mpi"));
    if (line["what"] != "transport") continue;
    EXPECT_EQ(line["bytes_sent"], line["rows"].get<int>() / 4 * 3 * 40 * (line["dtype"] == "BF16" ? 2 : 4));
  }
}

TEST_F(GpuJob, FewerGpusThanRanksAreRefusedInOneLine) {
  have_gpus(1);
  const Outcome outcome = run_octet(on_gpus(2, {"generate", "x"}));
  EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err, HasSubstr("ranks 0 and 1 share a GPU"));
}

}  // namespace
}  // namespace octet::testing
