// The table of generation parameters, walked: what each row promises of its name, its member and its bounds.
#include "runtime/checkpoint/generation_params.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "tests/checkpoint/param_cases.h"

namespace octet {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kVocab = 100;

GenerationParams seeded() {
  GenerationParams params;
  params.sampling.seed = 1;
  return params;
}

TEST(ParamTable, NamesStandOnceEach) {
  std::set<std::string> names, fields, flags;
  for (const GenerationParam& param : generation_params()) {
    EXPECT_TRUE(names.insert(param.name).second) << param.name;
    EXPECT_TRUE(fields.insert(param.proto).second) << param.proto;
    if (*param.flag != '\0') {
      EXPECT_TRUE(flags.insert(param.flag).second) << param.flag;
    }
    EXPECT_EQ(find_generation_param(param.name), &param);
    EXPECT_NE(std::string(param.help), "") << param.name;
  }
  EXPECT_EQ(find_generation_param("temprature"), nullptr);
  EXPECT_EQ(find_generation_param(""), nullptr);
}

TEST(ParamTable, EachNameSetsItsMemberAlone) {
  for (const GenerationParam& param : generation_params()) {
    GenerationParams params;
    const Status status = set_generation_param(param.name, good_value(param), params);
    EXPECT_TRUE(status.ok()) << status.message();
    EXPECT_THAT(differences(params, {}), ElementsAre(param.name));
  }
}

TEST(ParamTable, AValueOfAnotherTypeIsRefusedByItsName) {
  for (const GenerationParam& param : generation_params()) {
    GenerationParams params;
    const Status status = set_generation_param(param.name, nlohmann::json::array({nullptr}), params);
    EXPECT_EQ(status.code(), StatusCode::kInvalidInput) << param.name;
    EXPECT_EQ(status.field(), param.name);
  }
}

TEST(ParamTable, DefaultsAreGoodAndBoundsHold) {
  ASSERT_TRUE(seeded().sampling.validate(kVocab).ok());
  int num_ranges = 0;
  for (const GenerationParam& param : generation_params()) {
    const RangeEnds ends = ends_of(param.range);
    GenerationParams params = seeded();
    if (ends.good.empty() || !set_number(param, 0, params)) continue;
    ++num_ranges;
    for (const double good : ends.good) {
      set_number(param, good, params);
      EXPECT_TRUE(params.sampling.validate(kVocab).ok()) << params.sampling.validate(kVocab).message();
    }
    std::vector<double> bad = ends.bad;
    bad.insert(bad.end(), {std::nan(""), INFINITY, -INFINITY});
    for (const double value : bad) {
      set_number(param, value, params);
      EXPECT_EQ(params.sampling.validate(kVocab).field(), param.name) << value;
    }
  }
  EXPECT_GE(num_ranges, 7);
}

// The first of several errors is the one that is applied first.
TEST(ParamTable, ChecksGoInTheOrderOfApplication) {
  GenerationParams params;  // without a seed
  std::vector<std::string> order;
  params.sampling = {.logit_bias = {{7, 1000}},
                     .repetition_penalty = 0,
                     .frequency_penalty = 3,
                     .presence_penalty = 3,
                     .temperature = 3,
                     .top_k = -1,
                     .top_p = 0,
                     .min_p = 2};
  const auto mend = [&params](const char* name) {
    const GenerationParams defaults;
    visit_param(*find_generation_param(name), params, [&]<typename Member>(Member& member) {
      visit_param(*find_generation_param(name), defaults, [&](const auto& good) {
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(good)>, Member>) member = good;
      });
    });
  };
  while (order.size() < 9) {
    const Status status = params.sampling.validate(kVocab);
    ASSERT_FALSE(status.ok());
    order.push_back(status.field());
    if (status.field() == "seed") break;
    mend(status.field().c_str());
  }
  EXPECT_THAT(order, ElementsAre("logit_bias", "repetition_penalty", "frequency_penalty", "presence_penalty",
                                 "temperature", "top_k", "top_p", "min_p", "seed"));
}

TEST(ParamTable, ErrorsAreTheirLines) {
  const auto error = [](SamplingParams params) {
    params.seed = 1;
    return params.validate(kVocab).message();
  };
  EXPECT_EQ(error({.temperature = 2.5}), "temperature 2.5 is not in [0, 2]");
  EXPECT_EQ(error({.top_k = -5}), "top_k -5 is below 0 (0: off)");
  EXPECT_EQ(error({.top_p = 0}), "top_p 0 is not in (0, 1]");
  EXPECT_EQ(error({.min_p = 1.5}), "min_p 1.5 is not in [0, 1]");
  EXPECT_EQ(error({.repetition_penalty = 0}), "repetition_penalty 0 is not in [0.1, 10]");
  EXPECT_EQ(error({.frequency_penalty = -3}), "frequency_penalty -3 is not in [-2, 2]");
  EXPECT_EQ(error({.logit_bias = {{5, 1000}}}), "logit_bias of token 5: 1000 is not in [-100, 100]");
  EXPECT_EQ(error({.logit_bias = {{100, 1}}}), "logit_bias token 100 is not in [0, 100)");
  EXPECT_EQ(SamplingParams().validate(kVocab).message(), "seed is not set, and temperature 1 draws");
}

}  // namespace
}  // namespace octet
