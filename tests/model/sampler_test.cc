#include "runtime/model/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <set>

#include "kernels/reference/reference_backend.h"
#include "kernels/reference/sampling.h"

namespace octet {
namespace {

using ::testing::HasSubstr;

SamplingParams drawing_params(uint64_t seed = 1) {
  SamplingParams params;
  params.seed = seed;
  return params;
}

std::vector<float> random_logits(size_t vocab_size, uint64_t seed, float scale = 2.0F) {
  std::mt19937_64 rng(seed);
  std::normal_distribution<float> normal(0.0F, scale);
  std::vector<float> logits(vocab_size);
  for (float& logit : logits) logit = normal(rng);
  return logits;
}

// What a sampler asks for, of one row.
class OneRow {
 public:
  explicit OneRow(std::vector<float> logits) : logits_(std::move(logits)), sampler_(std::ssize(logits_)) {}

  Result<TokenId> sample(const SamplingInput& input) {
    choose(input);
    return chosen_token(answer());
  }
  // The distribution that sample() draws from.
  std::vector<double> probabilities(const SamplingInput& input) {
    choose(input);
    const SampleSpec& spec = batch_.samples.front();
    const std::vector<uint64_t> weights = kept_weights(logits_, spec, batch_.edits_of(spec));
    const double total = static_cast<double>(std::accumulate(weights.begin(), weights.end(), uint64_t{0}));
    EXPECT_GT(total, 0);
    std::vector<double> result;
    for (const uint64_t weight : weights) result.push_back(static_cast<double>(weight) / total);
    return result;
  }
  Logprobs logprobs(TokenId token, int64_t num_top) {
    batch_.clear();
    Sampler::score(0, token, num_top, batch_);
    Logprobs result;
    read_logprobs(answer(), result);
    return result;
  }

 private:
  void choose(const SamplingInput& input) {
    batch_.clear();
    sampler_.choose(input, batch_);
  }
  Choice answer() {
    const int64_t stride = SampledRows::stride(batch_.most_top());
    answers_.resize(static_cast<size_t>(stride));
    ReferenceBackend backend;
    HostStream stream;
    backend.sample({logits_.data(), DType::kF32, {1, std::ssize(logits_)}}, batch_,
                   {answers_.data(), DType::kI8, {1, stride}}, stream);
    return Choices(batch_, {answers_.data(), batch_.most_top()})[0];
  }

  std::vector<float> logits_;
  Sampler sampler_;
  SamplingBatch batch_;
  std::vector<std::byte> answers_;
};

std::vector<double> distribution(const SamplingParams& params, const std::vector<float>& logits,
                                 const std::vector<TokenId>& tokens = {}, int64_t prompt_size = 0) {
  return OneRow(logits).probabilities({.params = params, .tokens = tokens, .prompt_size = prompt_size});
}

// The definition, by a full sort in fp64, of a softmax that keeps top_k, then top_p, then min_p.
std::vector<double> plain_distribution(const SamplingParams& params, const std::vector<float>& logits) {
  std::vector<size_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return logits[a] > logits[b]; });
  if (params.top_k > 0) order.resize(std::min(order.size(), static_cast<size_t>(params.top_k)));
  std::vector<double> weights;
  for (const size_t id : order) weights.push_back(std::exp((logits[id] - logits[order[0]]) / params.temperature));
  const auto total = [&] { return std::accumulate(weights.begin(), weights.end(), 0.0); };
  double before = 0.0;
  size_t kept = 0;
  while (kept < weights.size() && before < params.top_p * total()) before += weights[kept++];
  if (params.top_p < 1.0) weights.resize(kept);
  while (weights.back() < params.min_p) weights.pop_back();
  std::vector<double> result(logits.size());
  for (size_t i = 0; i < weights.size(); ++i) result[order[i]] = weights[i] / total();
  return result;
}

TEST(Sampler, ReproducesTheReferenceDistributions) {
  std::ifstream file(OCTET_SOURCE_DIR "/tests/data/golden/sampling.json");
  const auto cases = nlohmann::json::parse(file);
  ASSERT_GE(cases.size(), 10);
  for (const auto& golden : cases) {
    SCOPED_TRACE(golden["settings"].dump());
    SamplingParams params = drawing_params();
    params.temperature = golden["settings"].value("temperature", 1.0);
    params.top_k = golden["settings"].value("top_k", 0);
    params.top_p = golden["settings"].value("top_p", 1.0);
    params.min_p = golden["settings"].value("min_p", 0.0);
    params.repetition_penalty = golden["settings"].value("repetition_penalty", 1.0);
    const auto tokens = golden["context"].get<std::vector<TokenId>>();
    const auto expected = golden["probabilities"].get<std::vector<double>>();
    const auto actual = distribution(params, golden["logits"].get<std::vector<float>>(), tokens, std::ssize(tokens));
    ASSERT_EQ(actual.size(), expected.size());
    for (size_t id = 0; id < expected.size(); ++id) {
      EXPECT_NEAR(actual[id], expected[id], 2e-6) << "token " << id;
      EXPECT_EQ(actual[id] == 0.0, expected[id] == 0.0) << "token " << id;
    }
  }
}

TEST(Sampler, TruncationsEqualTheirDefinitionOnRandomSettings) {
  std::mt19937_64 rng(7);
  for (int round = 0; round < 300; ++round) {
    const size_t vocab_size = 1 + rng() % 3000;
    SamplingParams params = drawing_params();
    params.temperature = std::array{0.05, 0.7, 1.0, 2.0}[rng() % 4];
    params.top_k = std::array<int64_t, 5>{0, 1, 7, 100, 5000}[rng() % 5];
    params.top_p = std::array{0.01, 0.5, 0.95, 1.0}[rng() % 4];
    params.min_p = std::array{0.0, 0.02, 0.5, 1.0}[rng() % 4];
    const auto logits = random_logits(vocab_size, rng(), std::array{0.0F, 0.5F, 4.0F}[rng() % 3]);
    const auto expected = plain_distribution(params, logits);
    const auto actual = distribution(params, logits);
    for (size_t id = 0; id < vocab_size; ++id) {
      ASSERT_NEAR(actual[id], expected[id], 1e-6) << "round " << round << ", token " << id << " of " << vocab_size;
    }
  }
}

// Questions of several rows: each answer is where choose() and score() said it would be, whichever is read first.
TEST(Sampler, AnswersAreFoundByIndex) {
  constexpr int64_t kRows = 3, kVocab = 40;
  const std::vector<float> logits = random_logits(kRows * kVocab, 5);
  const auto row_of = [&](int64_t row) {
    return std::vector(logits.begin() + row * kVocab, logits.begin() + (row + 1) * kVocab);
  };
  Sampler sampler(kVocab);
  SamplingParams greedy;
  greedy.temperature = 0;
  SamplingBatch batch;
  std::vector<int64_t> tokens, scores;
  for (int64_t row = 0; row < kRows; ++row) {
    scores.push_back(Sampler::score(row, static_cast<TokenId>(row), row, batch));
    tokens.push_back(sampler.choose({.row = row, .params = greedy}, batch));
  }
  const int64_t stride = SampledRows::stride(batch.most_top());
  std::vector<std::byte> answers(static_cast<size_t>(batch.size() * stride));
  ReferenceBackend backend;
  HostStream stream;
  std::vector<float> rows = logits;
  backend.sample({rows.data(), DType::kF32, {kRows, kVocab}}, batch,
                 {answers.data(), DType::kI8, {batch.size(), stride}}, stream);
  const Choices choices(batch, {answers.data(), batch.most_top()});
  for (int64_t row = kRows - 1; row >= 0; --row) {
    const auto at = static_cast<size_t>(row);
    OneRow alone(row_of(row));
    EXPECT_EQ(*chosen_token(choices[tokens[at]]), *alone.sample({.params = greedy}));
    Logprobs found;
    read_logprobs(choices[scores[at]], found);
    EXPECT_EQ(found.chosen, alone.logprobs(static_cast<TokenId>(row), row).chosen);
    EXPECT_EQ(std::ssize(found.top), row);
  }
}

TEST(Sampler, GreedyTakesTheLowestOfEqualTokens) {
  std::mt19937_64 rng(3);
  SamplingParams params;
  params.temperature = 0.0;
  for (int round = 0; round < 100; ++round) {
    std::vector<float> logits = random_logits(50 + rng() % 50, rng());
    const size_t first = rng() % logits.size();
    const float top = *std::max_element(logits.begin(), logits.end()) + 1.0F;
    for (size_t id = first; id < logits.size(); id += 1 + rng() % 7) logits[id] = top;
    EXPECT_EQ(*OneRow(logits).sample({.params = params}), static_cast<TokenId>(first));
  }
}

TEST(Sampler, TopKKeepsTheLowestOfEqualTokens) {
  SamplingParams params = drawing_params();
  params.top_k = 3;
  const auto probabilities = distribution(params, {1.0F, 2.0F, 1.0F, 2.0F, 1.0F});
  EXPECT_GT(probabilities[0], 0.0);
  EXPECT_GT(probabilities[1], 0.0);
  EXPECT_EQ(probabilities[2], 0.0);
  EXPECT_GT(probabilities[3], 0.0);
  EXPECT_EQ(probabilities[4], 0.0);
}

TEST(Sampler, PenaltiesAndBiasRewriteTheLogitsInOrder) {
  SamplingParams params = drawing_params();
  params.logit_bias = {{0, 1.5}, {3, -2.0}};
  params.repetition_penalty = 1.25;
  params.frequency_penalty = 0.5;
  params.presence_penalty = 0.25;
  params.temperature = 0.5;
  const std::vector<float> logits = {0.5F, -1.0F, 2.0F, 3.0F, 0.25F};
  const std::vector<TokenId> tokens = {0, 1, 0, /* output */ 3, 1, 3};
  const std::vector<double> processed = {(0.5 + 1.5) / 1.25, -1.0 * 1.25 - 0.5 - 0.25, 2.0,
                                         (3.0 - 2.0) / 1.25 - 2 * 0.5 - 0.25, 0.25};
  double total = 0.0;
  for (const double logit : processed) total += std::exp(logit / 0.5);
  const auto actual = distribution(params, logits, tokens, 3);
  for (size_t id = 0; id < processed.size(); ++id) {
    EXPECT_NEAR(actual[id], std::exp(processed[id] / 0.5) / total, 1e-6) << "token " << id;
  }
}

TEST(Sampler, PenaltiesOfOneSequenceDoNotReachTheNext) {
  const auto logits = random_logits(40, 5);
  SamplingParams params = drawing_params();
  params.repetition_penalty = 1.5;
  params.presence_penalty = 1.0;
  const std::vector<TokenId> history = {1, 2, 3, 2};
  OneRow used(logits);
  EXPECT_NE(used.probabilities({.params = params, .tokens = history, .prompt_size = 1}), distribution(params, logits));
  EXPECT_EQ(used.probabilities({.params = params}), distribution(params, logits));
}

TEST(Sampler, BannedTokensAreNeverChosen) {
  std::vector<float> logits = {1.0F, 9.0F, 8.0F, 2.0F};
  const std::vector<TokenId> banned = {1, 2};
  SamplingParams greedy;
  greedy.temperature = 0.0;
  OneRow row(logits);
  EXPECT_EQ(*row.sample({.params = greedy, .banned = banned}), 3);
  const SamplingParams params = drawing_params();
  const auto probabilities = row.probabilities({.params = params, .banned = banned});
  EXPECT_EQ(probabilities[1] + probabilities[2], 0.0);
  const std::vector<TokenId> all = {0, 1, 2, 3};
  EXPECT_FALSE(row.sample({.params = params, .banned = all}).ok());
}

TEST(Sampler, RefusesLogitsThatAreNotFinite) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const double temperature : {0.0, 1.0}) {
      auto logits = random_logits(100, 11);
      logits[37] = bad;
      SamplingParams params = drawing_params();
      params.temperature = temperature;
      const auto result = OneRow(logits).sample({.params = params});
      ASSERT_FALSE(result.ok());
      EXPECT_THAT(result.status().message(), HasSubstr("not finite"));
    }
  }
}

TEST(Sampler, TinyTemperaturesAreGreedyInTheLimit) {
  const auto logits = random_logits(500, 13);
  const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
  for (const double temperature : {1e-3, 1e-30, 1e-300}) {
    SamplingParams params = drawing_params();
    params.temperature = temperature;
    EXPECT_EQ(distribution(params, logits)[static_cast<size_t>(best)], 1.0) << temperature;
  }
}

// Pearson's statistic of draws against the distribution they claim; bins with an expectation below 5 are left out.
double chi_squared_excess(const SamplingParams& params, const std::vector<float>& logits, int num_draws) {
  OneRow row(logits);
  std::vector<int> counts(logits.size());
  for (int draw = 0; draw < num_draws; ++draw) {
    const std::vector<TokenId> tokens(static_cast<size_t>(draw % 1000));
    const auto token = row.sample({.params = params, .tokens = tokens, .sample_index = draw / 1000});
    ++counts[static_cast<size_t>(*token)];
  }
  const auto probabilities = distribution(params, logits);
  double statistic = 0.0;
  int degrees = -1;
  for (size_t id = 0; id < logits.size(); ++id) {
    const double expected = probabilities[id] * num_draws;
    EXPECT_TRUE(probabilities[id] > 0.0 || counts[id] == 0) << "token " << id;
    if (expected < 5.0) continue;
    statistic += (counts[id] - expected) * (counts[id] - expected) / expected;
    ++degrees;
  }
  return (statistic - degrees) / std::sqrt(2.0 * degrees);  // standard deviations from its mean
}

TEST(Sampler, DrawsFollowTheDistribution) {
  const auto logits = random_logits(60, 17);
  SamplingParams plain = drawing_params(42);
  EXPECT_LT(std::abs(chi_squared_excess(plain, logits, 100'000)), 4.0);
  SamplingParams truncated = drawing_params(43);
  truncated.temperature = 1.3;
  truncated.top_k = 30;
  truncated.top_p = 0.95;
  EXPECT_LT(std::abs(chi_squared_excess(truncated, logits, 100'000)), 4.0);
}

TEST(Sampler, TheDrawDependsOnSeedSampleAndOutputIndexAlone) {
  const auto logits = random_logits(5000, 19, 0.1F);
  OneRow used(logits);
  std::set<TokenId> seen;
  for (const uint64_t seed : {1U, 2U}) {
    for (int64_t sample_index = 0; sample_index < 4; ++sample_index) {
      for (size_t output_index = 0; output_index < 4; ++output_index) {
        const SamplingParams params = drawing_params(seed);
        const std::vector<TokenId> short_history(3 + output_index, 1);
        const std::vector<TokenId> long_history(200 + output_index, 2);
        const TokenId token = *OneRow(logits).sample(
            {.params = params, .tokens = short_history, .prompt_size = 3, .sample_index = sample_index});
        EXPECT_EQ(
            token,
            *used.sample({.params = params, .tokens = long_history, .prompt_size = 200, .sample_index = sample_index}));
        seen.insert(token);
      }
    }
  }
  EXPECT_GT(seen.size(), 28U);  // 32 draws from 5,000 nearly equal tokens hardly ever meet
}

TEST(Sampler, LogprobsAreTheLogSoftmaxOfRawLogits) {
  std::vector<float> logits = random_logits(1500, 23, 5.0F);
  logits[900] = logits[20] = 30.0F;
  double total = 0.0;
  for (const float logit : logits) total += std::exp(static_cast<double>(logit));
  OneRow row(logits);
  const Logprobs logprobs = row.logprobs(77, 5);
  EXPECT_NEAR(logprobs.chosen, logits[77] - std::log(total), 1e-4);
  ASSERT_EQ(logprobs.top.size(), 5U);
  EXPECT_EQ(logprobs.top[0].token_id, 20);
  EXPECT_EQ(logprobs.top[1].token_id, 900);
  for (size_t i = 0; i < logprobs.top.size(); ++i) {
    const auto& entry = logprobs.top[i];
    EXPECT_NEAR(entry.logprob, logits[static_cast<size_t>(entry.token_id)] - std::log(total), 1e-4);
    EXPECT_LE(entry.logprob, logprobs.top[i == 0 ? 0 : i - 1].logprob);
  }
  EXPECT_TRUE(row.logprobs(0, 0).top.empty());
  EXPECT_EQ(row.logprobs(0, 1500).top.size(), 1500U);
}

}  // namespace
}  // namespace octet
