// octet bench scaling and octet bench exchange, as jobs of several ranks.
#include "tests/launcher/run_octet.h"

namespace octet::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

std::vector<std::string> job_of(int num_ranks, const std::vector<std::string>& command) {
  std::vector<std::string> arguments = {"run", "--ranks", std::to_string(num_ranks), "--"};
  arguments.insert(arguments.end(), command.begin(), command.end());
  return arguments;
}

// As expect_refused; octet run says more than one line.
void expect_job_refused(const std::vector<std::string>& arguments, const std::string& part) {
  const Outcome outcome = run_octet(arguments);
  EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err, HasSubstr(part));
}

double sum(const json& object) {
  double sum = 0;
  for (const json& value : object) sum += value.get<double>();
  return sum;
}

TEST(BenchScaling, ReportsEveryLayoutOfEveryWorkload) {
  const TempFolder folder;
  const std::string model = folder / "model";
  output_of({"bench", "make-model", model, "--shape", "tiny"});
  const std::vector<std::string> command = {"bench",     "scaling", "--model",         model,
                                            "--rounds",  "2",       "--streams",       "3",
                                            "--steps",   "3",       "--exchange",      "all-to-all,replicated",
                                            "--context", "10",      "--prompt-tokens", "30"};
  auto with_json = command;
  with_json.push_back("--json");
  const json report = json_of(job_of(4, with_json));
  EXPECT_EQ(report["benchmark"], "scaling");
  const json& results = report["results"];
  // One rank; two as ep 2 and etp 2; four as (4, 1), (2, 2), (1, 4); all but the first in two row layouts; two works.
  ASSERT_EQ(results.size(), 2U * (1 + 2 * (2 + 3)));
  for (const json& line : results) {
    EXPECT_GT(line["tokens_per_s"], 0);
    EXPECT_LE(line["tokens_per_s_min"], line["tokens_per_s"]);
    EXPECT_LE(line["tokens_per_s"], line["tokens_per_s_max"]);
    EXPECT_GT(line["ms_a_step"]["attention"], 0);
    EXPECT_GT(line["ms_a_step"]["experts"], 0);
    const json& bytes = line["bytes_per_token"];
    const json& formula = line["bytes_per_token_formula"];
    if (line["ranks"] == 1) {
      EXPECT_EQ(sum(bytes), 0);
      EXPECT_EQ(line["efficiency"], 1);
      continue;
    }
    EXPECT_GT(line["ms_a_step"]["wait"], 0);
    EXPECT_NEAR(bytes["attention"], formula["attention"].get<double>(), 1e-6);
    if (line["row_layout"] == "replicated") {
      EXPECT_NEAR(sum(bytes), sum(formula), 1e-6);
    }
  }
  EXPECT_THAT(output_of(job_of(2, command)), HasSubstr("decode of 3 streams"));
}

TEST(BenchScaling, RefusesWhatTheJobOrTheModelCannotDo) {
  expect_job_refused(job_of(2, {"bench", "scaling", "--worlds", "4"}), "4 ranks: the job has 2");
  expect_job_refused(job_of(2, {"bench", "scaling", "--etp", "8"}), "no layout");
  expect_job_refused(job_of(2, {"bench", "scaling", "--model", "/nowhere"}), "/nowhere");
}

TEST(BenchExchange, HoldsTheTransportAgainstMpi) {
  const json report =
      json_of(job_of(2, {"bench", "exchange", "--rows", "8,33", "--hidden", "40", "--rounds", "2", "--json"}));
  EXPECT_EQ(report["benchmark"], "exchange");
  ASSERT_EQ(report["results"].size(), 2U * 2 * 4);
  for (const json& line : report["results"]) {
    EXPECT_GT(line["us"], 0);
    EXPECT_EQ(line.contains("of_mpi"), line["what"] == "transport");
    const bool is_bf16 = line["dtype"] == "BF16";
    if (line["what"] == "transport") {
      EXPECT_EQ(line["bytes_sent"], line["rows"].get<int>() / 2 * 40 * (is_bf16 ? 2 : 4));
    }
  }
  expect_refused({"bench", "exchange"}, {"at least two ranks"});
}

}  // namespace
}  // namespace octet::testing
