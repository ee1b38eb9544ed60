#include "runtime/model/perplexity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "runtime/base/read_file.h"
#include "tests/text/tokenizer_fixtures.h"

namespace octet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Perplexity, WindowsWithoutOverlap) {
  EXPECT_THAT(*perplexity_windows(7, 4, 3),
              ElementsAre(PerplexityWindow{0, 3, 1}, PerplexityWindow{3, 3, 1}, PerplexityWindow{6, 1, 1}));
  EXPECT_THAT(*perplexity_windows(6, 4, 3), ElementsAre(PerplexityWindow{0, 3, 1}, PerplexityWindow{3, 3, 1}));
}

TEST(Perplexity, AStrideScoresOnlyWhatIsNew) {
  EXPECT_THAT(*perplexity_windows(7, 6, 2), ElementsAre(PerplexityWindow{0, 5, 1}, PerplexityWindow{2, 5, 4}));
  EXPECT_THAT(*perplexity_windows(8, 6, 2),
              ElementsAre(PerplexityWindow{0, 5, 1}, PerplexityWindow{2, 5, 4}, PerplexityWindow{4, 4, 4}));
}

TEST(Perplexity, EveryTokenIsScoredOnce) {
  std::mt19937 random(13);
  for (int i = 0; i < 500; ++i) {
    const int64_t num_tokens = 1 + random() % 200;
    const int64_t context = 2 + random() % 40;
    const int64_t stride = 1 + random() % static_cast<uint32_t>(context - 1);
    const auto windows = perplexity_windows(num_tokens, context, stride);
    ASSERT_TRUE(windows.ok());
    int64_t next = 0;
    for (const auto& window : *windows) {
      ASSERT_LE(window.num_tokens, context - 1);
      for (int64_t p = window.first_scored_position; p <= window.num_tokens; ++p) {
        ASSERT_EQ(window.first_token + p - 1, next++);
      }
    }
    ASSERT_EQ(next, num_tokens);
  }
}

TEST(Perplexity, RefusesWhatScoresNothing) {
  for (const auto& windows : {perplexity_windows(0, 512, 511), perplexity_windows(9, 1, 1), perplexity_windows(9, 8, 0),
                              perplexity_windows(9, 8, 8)}) {
    EXPECT_EQ(windows.status().code(), StatusCode::kInvalidInput);
  }
}

TEST(Perplexity, WindowsOfTheHeldOutTextsAreThoseOfTheReference) {
  const Tokenizer tokenizer = open_tokenizer(kDemoTokenizer);
  const auto expected = nlohmann::json::parse(*read_text_file(kGoldenDir / "octet-demo/text.json", 1 << 20));
  for (const auto& [name, values] : expected.items()) {
    const auto text = read_text_file(kDemoTokenizer.parent_path() / name, 1 << 24);
    ASSERT_TRUE(text.ok());
    const auto stream = tokenizer.encode(*text);
    EXPECT_EQ(stream.size(), values["tokens_scored"].get<size_t>()) << name;
    const auto windows = perplexity_windows(static_cast<int64_t>(stream.size()), 512, 511);
    ASSERT_TRUE(windows.ok());
    EXPECT_EQ(windows->size(), values["windows"].get<size_t>()) << name;
    const auto ids = window_ids(stream, windows->back(), 1);
    EXPECT_EQ(ids.front(), 1);
    EXPECT_TRUE(std::equal(ids.rbegin(), ids.rend() - 1, stream.rbegin())) << "the last window ends with the stream";
  }
}

TEST(Perplexity, LikelihoodMatchesTheFormula) {
  std::mt19937 random(17);
  for (const size_t vocab : {1U, 2U, 255U, 256U, 257U, 1000U, 32000U}) {
    std::normal_distribution<float> normal(0, 8);
    std::vector<float> logits(vocab);
    for (float& logit : logits) logit = normal(random);
    long double sum = 0;
    for (const float logit : logits) sum += std::exp(static_cast<long double>(logit));
    const auto target = static_cast<TokenId>(random() % vocab);
    const auto expected = static_cast<double>(std::log(sum) - logits[static_cast<size_t>(target)]);
    EXPECT_NEAR(negative_log_likelihood(logits, target), expected, 1e-12 * std::max(1.0, expected));
  }
}

TEST(Perplexity, LikelihoodOfExtremeLogitsIsFinite) {
  const std::vector<float> logits = {3e38F, -3e38F, 3e38F};
  EXPECT_NEAR(negative_log_likelihood(logits, 0), std::log(2.0), 1e-12);
  EXPECT_NEAR(negative_log_likelihood(std::vector<float>{-1e30F, -1e30F}, 1), std::log(2.0), 1e-12);
}

TEST(Perplexity, TableGroupsByPosition) {
  PerplexityTable table;
  const std::vector<std::pair<int64_t, std::string>> edges = {
      {1, "1-31"},       {31, "1-31"},       {32, "32-127"},      {127, "32-127"},
      {128, "128-255"},  {255, "128-255"},   {256, "256-511"},    {511, "256-511"},
      {512, "512-1023"}, {1023, "512-1023"}, {1024, "1024-2047"}, {32767, "16384-32767"}};
  double sum = 0;
  std::map<std::string, std::vector<double>> expected;
  for (size_t i = 0; i < edges.size(); ++i) {
    const double nll = 0.25 * static_cast<double>(i + 1);
    table.add(edges[i].first, nll);
    sum += nll;
    expected[edges[i].second].push_back(nll);
  }
  const auto json = nlohmann::json::parse(table.to_json());
  EXPECT_EQ(json["tokens_scored"], edges.size());
  EXPECT_NEAR(json["perplexity"], std::exp(sum / static_cast<double>(edges.size())), 1e-12);
  EXPECT_EQ(json["perplexity_by_position"].size(), expected.size());
  for (const auto& [label, nlls] : expected) {
    double range_sum = 0;
    for (const double nll : nlls) range_sum += nll;
    EXPECT_NEAR(json["perplexity_by_position"][label], std::exp(range_sum / static_cast<double>(nlls.size())), 1e-10)
        << label;
    EXPECT_THAT(table.to_text(), HasSubstr(" " + label + " "));
  }
}

}  // namespace
}  // namespace octet
