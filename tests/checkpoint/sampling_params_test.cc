#include "runtime/checkpoint/sampling_params.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

namespace octet {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kVocab = 100;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct BadCase {
  std::function<void(SamplingParams&)> spoil;
  const char* field;
  const char* value;
};

TEST(SamplingParams, EveryBadValueIsNamedWithItsField) {
  const std::vector<BadCase> cases = {
      {[](auto& p) { p.temperature = -1; }, "temperature", "-1"},
      {[](auto& p) { p.temperature = 2.5; }, "temperature", "2.5"},
      {[](auto& p) { p.temperature = kNan; }, "temperature", "nan"},
      {[](auto& p) { p.temperature = kInfinity; }, "temperature", "inf"},
      {[](auto& p) { p.top_k = -5; }, "top_k", "-5"},
      {[](auto& p) { p.top_p = 0; }, "top_p", "0"},
      {[](auto& p) { p.top_p = 1.1; }, "top_p", "1.1"},
      {[](auto& p) { p.top_p = kNan; }, "top_p", "nan"},
      {[](auto& p) { p.min_p = -0.5; }, "min_p", "-0.5"},
      {[](auto& p) { p.min_p = kNan; }, "min_p", "nan"},
      {[](auto& p) { p.repetition_penalty = 0; }, "repetition_penalty", "0"},
      {[](auto& p) { p.repetition_penalty = kInfinity; }, "repetition_penalty", "inf"},
      {[](auto& p) { p.frequency_penalty = 3; }, "frequency_penalty", "3"},
      {[](auto& p) { p.presence_penalty = -3; }, "presence_penalty", "-3"},
      {[](auto& p) { p.logit_bias[kVocab] = 1; }, "logit_bias", "100"},
      {[](auto& p) { p.logit_bias[-1] = 1; }, "logit_bias", "-1"},
      {[](auto& p) { p.logit_bias[5] = kNan; }, "logit_bias", "nan"},
      {[](auto& p) { p.logit_bias[5] = 1000; }, "logit_bias", "1000"},
      {[](auto& p) { p.seed.reset(); }, "seed", "not set"},
  };
  for (const BadCase& bad : cases) {
    SamplingParams params;
    params.seed = 1;
    ASSERT_TRUE(params.validate(kVocab).ok());
    bad.spoil(params);
    const Status status = params.validate(kVocab);
    EXPECT_EQ(status.code(), StatusCode::kInvalidInput) << bad.field << " " << bad.value;
    EXPECT_THAT(status.message(), HasSubstr(bad.field));
    EXPECT_THAT(status.message(), HasSubstr(bad.value));
  }
}

TEST(SamplingParams, TheBoundsThemselvesAreGood) {
  SamplingParams params;
  params.temperature = 0;  // greedy: no seed needed
  EXPECT_TRUE(params.validate(kVocab).ok());
  params.temperature = 2;
  params.seed = 0;
  params.top_p = 1;
  params.min_p = 1;
  params.repetition_penalty = 10;
  params.frequency_penalty = -2;
  params.presence_penalty = 2;
  params.logit_bias = {{0, -100}, {kVocab - 1, 100}};
  EXPECT_TRUE(params.validate(kVocab).ok());
}

TEST(SamplingParams, DrawnSeedsDiffer) { EXPECT_NE(draw_seed(), draw_seed()); }

}  // namespace
}  // namespace octet
