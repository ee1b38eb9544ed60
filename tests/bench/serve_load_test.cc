// The loads that octet bench serve puts on a service, and its percentiles.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "bench/serve_load.h"
#include "bench/serve_report.h"

namespace octet {
namespace {

LengthDistribution length(const std::string& text) {
  auto parsed = LengthDistribution::parse(text);
  EXPECT_TRUE(parsed.ok()) << text;
  return *parsed;
}

std::vector<int64_t> draws(const LengthDistribution& distribution, int count) {
  std::mt19937_64 random(5);
  std::vector<int64_t> values;
  for (int i = 0; i < count; ++i) values.push_back(distribution.draw(random));
  std::ranges::sort(values);
  return values;
}

TEST(LengthDistribution, DrawsWhatItSays) {
  EXPECT_THAT(draws(length("7"), 10), ::testing::Each(7));
  const auto uniform = draws(length("uniform:3-6"), 1000);
  EXPECT_EQ(uniform.front(), 3);
  EXPECT_EQ(uniform.back(), 6);
  EXPECT_NEAR(std::accumulate(uniform.begin(), uniform.end(), 0.0) / 1000, 4.5, 0.15);
  const auto lognormal = draws(length("lognormal:100,0.5"), 4000);
  EXPECT_NEAR(static_cast<double>(lognormal[2000]), 100, 5);
  EXPECT_NEAR(std::log(static_cast<double>(lognormal[3365]) / 100), 0.5, 0.05) << "one standard deviation above";
  EXPECT_LE(draws(length("lognormal:100,2,150"), 1000).back(), 150);
  EXPECT_GE(draws(length("lognormal:1,4"), 1000).front(), 1);
}

TEST(LengthDistribution, RefusesWhatIsNone) {
  for (const char* text : {"", "0", "-3", "5x", "uniform:", "uniform:5", "uniform:6-5", "uniform:0-5", "lognormal:5",
                           "lognormal:5,-1", "lognormal:0,1", "lognormal:5,1,0", "normal:5,1", "uniform:1-2-3"}) {
    EXPECT_EQ(LengthDistribution::parse(text).status().code(), StatusCode::kInvalidInput) << text;
  }
}

TEST(ServeLoad, PoissonArrivalsHaveTheirRate) {
  const auto load = draw_load({.num_requests = 4000, .prompt_tokens = length("2"), .seed = 3}, 50, 100);
  EXPECT_NEAR(load.back().arrival, 4000 / 50.0, 4);
  double sum_of_squares = 0;
  for (size_t i = 1; i < load.size(); ++i) sum_of_squares += std::pow(load[i].arrival - load[i - 1].arrival, 2);
  EXPECT_NEAR(sum_of_squares / 3999 * 50 * 50, 2, 0.3) << "gaps are exponential";
}

TEST(ServeLoad, SeedsDecideEverything) {
  const auto with_seed = [](uint64_t seed) {
    return draw_load({.num_requests = 5, .prompt_tokens = length("uniform:5-50"), .seed = seed}, 3, 1000);
  };
  const auto a = with_seed(1), b = with_seed(1), c = with_seed(2);
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].prompt, b[i].prompt);
    EXPECT_EQ(a[i].arrival, b[i].arrival);
    EXPECT_NE(a[i].prompt, c[i].prompt);
    EXPECT_NE(a[i].prompt, a[(i + 1) % a.size()].prompt);
  }
}

TEST(ServeLoad, PrefixesAreSharedByAFewInARow) {
  const auto load = draw_load(
      {.num_requests = 7, .prompt_tokens = length("30"), .same_prefix = 20, .prefix_uses = 3, .seed = 1}, 0, 1000);
  const auto prefix = [&](size_t i) {
    return std::vector<TokenId>(load[i].prompt.begin(), load[i].prompt.begin() + 20);
  };
  for (size_t i = 1; i < load.size(); ++i) {
    EXPECT_EQ(load[i].prompt.size(), 30U);
    EXPECT_EQ(prefix(i) == prefix(i - 1), i % 3 != 0);
    EXPECT_NE(load[i].prompt, load[i - 1].prompt);
  }
}

TEST(ServeLoad, BadTracesAreRefusedWithTheirLine) {
  const std::string good = "{\"arrival_s\": 1, \"prompt_tokens\": 2, \"output_tokens\": 3}\n";
  EXPECT_TRUE(load_of_trace(good, 1, 1, 100).ok());
  for (const char* bad :
       {"[]", "{", "{\"arrival_s\": 1}", "{\"arrival_s\": -1, \"prompt_tokens\": 2, \"output_tokens\": 3}",
        "{\"arrival_s\": 1, \"prompt_tokens\": 0, \"output_tokens\": 3}",
        "{\"arrival_s\": 1, \"prompt_tokens\": 2, \"output_tokens\": 3, \"more\": 4}"}) {
    const auto load = load_of_trace(good + "\n" + bad + "\n", 1, 1, 100);
    EXPECT_EQ(load.status().code(), StatusCode::kInvalidInput) << bad;
    EXPECT_THAT(load.status().message(), ::testing::HasSubstr("line 3")) << bad;
  }
  EXPECT_EQ(load_of_trace("\n", 1, 1, 100).status().code(), StatusCode::kInvalidInput);
}

TEST(Percentile, InterpolatesBetweenTheNearestRanks) {
  EXPECT_DOUBLE_EQ(percentile({4}, 0.99), 4);
  EXPECT_DOUBLE_EQ(percentile({3, 1, 2}, 0.5), 2);
  EXPECT_DOUBLE_EQ(percentile({4, 1, 3, 2}, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(percentile({10, 20, 30, 40, 50}, 0.9), 46);
  EXPECT_DOUBLE_EQ(percentile({10, 20}, 1), 20);
}

// Two answers and a refusal with known times.
TEST(ServeReport, FiguresAreTheirDefinitions) {
  ServeRun run{.rate = 2, .concurrency = 0, .seconds = 10, .records = {}};
  run.steps = {.schedule = 0.5, .model = 7.75, .sample = 1, .deliver = 0.25, .service = 0.5};
  run.records.push_back({"", 8, 0, 5, 1.0, 1.5, 2.5, {0.1, 0.2, 0.3, 0.4}, {}});
  run.records.push_back({"", 8, 4, 1, 2.0, 5.0, 5.0, {}, {}});
  run.records.push_back({"", 8, 0, 0, 3.0, 0, 0, {}, {RpcCode::kResourceExhausted, failed("full")}});
  const auto json = serve_json({run}, {.time_to_first_token = 1, .time_per_output_token = 0.3})[0];
  EXPECT_EQ(json["answered"], 2);
  EXPECT_EQ(json["refused"], 1);
  EXPECT_EQ(json["failed"], 0);
  EXPECT_EQ(json["good"], 1);
  EXPECT_DOUBLE_EQ(json["requests_per_s"], 0.2);
  EXPECT_DOUBLE_EQ(json["goodput_requests_per_s"], 0.1);
  EXPECT_DOUBLE_EQ(json["output_tokens_per_s"], 0.6);
  EXPECT_DOUBLE_EQ(json["tokens_per_s"], 2.2);
  EXPECT_DOUBLE_EQ(json["step_seconds"]["sample"], 1);
  EXPECT_THAT(serve_table({run}, {}), testing::HasSubstr("steps took 10.00 s: model 77.50 %, schedule 5.00 %, sample "
                                                         "10.00 %, deliver 2.50 %, service 5.00 %"));
  const auto& all = json["kinds"][0];
  EXPECT_NEAR(all["ttft_ms"]["p50"], 1750, 1e-9);
  EXPECT_NEAR(all["tpot_ms"]["mean"], 250, 1e-9);
  EXPECT_NEAR(all["itl_ms"]["p50"], 250, 1e-9);
  EXPECT_NEAR(all["e2e_ms"]["max"], 3000, 1e-9);
  EXPECT_EQ(json["requests"][2]["code"], "RESOURCE_EXHAUSTED");
  EXPECT_EQ(json["requests"][1]["cached_tokens"], 4);
}

}  // namespace
}  // namespace octet
