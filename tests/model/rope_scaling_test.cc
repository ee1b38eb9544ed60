#include "runtime/checkpoint/rope_scaling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "runtime/checkpoint/model_config.h"
#include "tests/checkpoint/checkpoint_builder.h"
#include "tests/model/model_fixture.h"

namespace octet::testing {
namespace {

using nlohmann::json;
using ::testing::FloatNear;
using ::testing::HasSubstr;

ModelConfig config_with(const json& extra) {
  json object = hf_config_json(tiny_config());
  object.update(extra);
  auto config = parse_hf_config(object.dump());
  OCTET_CHECK(config.ok(), "{}", config.status().message());
  return *std::move(config);
}

std::vector<float> row_at(const ModelConfig& config, int64_t position) {
  std::vector<float> row(static_cast<size_t>(config.head_dim / 2 + 1));
  rope_frequencies(config.rope_scaling, config.rope_theta, position, row);
  return row;
}

TEST(RopeScaling, FrequenciesAreTheReferences) {
  const json golden = json::parse(read_file(golden_dir() / "rope.json"));
  ASSERT_GE(golden["cases"].size(), 12U);
  for (const json& one : golden["cases"]) {
    SCOPED_TRACE(one["config"].dump());
    json object = one["config"];
    object["head_dim"] = golden["head_dim"];
    const ModelConfig config = config_with(object);
    const int64_t length = one["length"].is_null() ? 1 : one["length"].get<int64_t>();
    const std::vector<float> row = row_at(config, length - 1);
    const std::vector<float> expected = one["inverse_frequency"];
    ASSERT_EQ(row.size(), expected.size() + 1);
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_THAT(row[i], FloatNear(expected[i], 1e-6F * expected[i])) << i;
    EXPECT_FLOAT_EQ(row.back(), one["attention_factor"].get<float>());
  }
}

TEST(RopeScaling, NewerAndOlderSpellingsAreOne) {
  const json yarn = {{"factor", 4.0}, {"original_max_position_embeddings", 16}, {"beta_fast", 16}};
  const auto spelt = [&](const char* key, const char* type_key, const json& more) {
    json object = yarn;
    object[type_key] = "yarn";
    object.update(more);
    return config_with({{key, object}});
  };
  const RopeScaling expected = spelt("rope_scaling", "type", json::object()).rope_scaling;
  EXPECT_EQ(expected.kind, RopeKind::kYarn);
  EXPECT_EQ(spelt("rope_scaling", "rope_type", json::object()).rope_scaling, expected);
  EXPECT_EQ(spelt("rope_parameters", "rope_type", {{"rope_theta", 500.0}}).rope_scaling, expected);
  EXPECT_EQ(spelt("rope_parameters", "rope_type", {{"rope_theta", 500.0}}).rope_theta, 500.0);
  // Files that name both spellings: rope_type counts.
  EXPECT_EQ(spelt("rope_scaling", "rope_type", {{"type", "default"}}).rope_scaling, expected);
  json beside = yarn;
  beside["type"] = "yarn";
  beside.erase("original_max_position_embeddings");
  EXPECT_EQ(config_with({{"rope_scaling", beside}, {"original_max_position_embeddings", 16}}).rope_scaling, expected);
  EXPECT_EQ(config_with({{"rope_scaling", nullptr}}).rope_scaling, RopeScaling());
  EXPECT_EQ(config_with({{"rope_scaling", {{"type", "default"}}}}).rope_scaling, RopeScaling());
}

TEST(RopeScaling, TheContextIsTheScaledOne) {
  const ModelConfig dynamic = config_with({{"rope_scaling", {{"type", "dynamic"}, {"factor", 2.5}}}});
  EXPECT_EQ(dynamic.max_positions, 160);  // of the 64 that the file declares
  EXPECT_EQ(dynamic.rope_scaling.original_positions, 64);
  EXPECT_FALSE(dynamic.assumed_positions);
  // One context only, before or after scaling.
  for (const char* kind : {"linear", "yarn"}) {
    const ModelConfig open = config_with({{"rope_scaling", {{"type", kind}, {"factor", 4.0}}}});
    EXPECT_EQ(open.max_positions, 64);
    EXPECT_TRUE(open.assumed_positions);
  }
  const ModelConfig told =
      config_with({{"rope_scaling", {{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 16}}}});
  EXPECT_EQ(told.max_positions, 64);
  EXPECT_FALSE(told.assumed_positions);
}

// Of YaRN without a factor, the two contexts say it.
TEST(RopeScaling, TheFactorMayFollowFromTheContexts) {
  const json yarn = {{"type", "yarn"}, {"original_max_position_embeddings", 16}};
  EXPECT_EQ(config_with({{"rope_scaling", yarn}}).rope_scaling.factor, 4.0);
}

TEST(RopeScaling, DynamicFrequenciesArePlainInTheOriginalContext) {
  const ModelConfig dynamic = config_with({{"rope_scaling", {{"type", "dynamic"}, {"factor", 4.0}}}});
  const std::vector<float> plain = row_at(config_with(json::object()), 0);
  for (const int64_t position : {0, 1, 62, 63}) EXPECT_EQ(row_at(dynamic, position), plain);
  EXPECT_LT(row_at(dynamic, 64)[1], plain[1]);
  EXPECT_LT(row_at(dynamic, 200)[1], row_at(dynamic, 64)[1]);
}

TEST(RopeScaling, NativeParametersAreScaledAlike) {
  json object = native_params_json(tiny_config());
  object["rope_scaling"] = {{"type", "linear"}, {"factor", 2.0}};
  const auto config = parse_native_params(object.dump());
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->rope_scaling.kind, RopeKind::kLinear);
  object["yarn"] = {{"factor", 2}};
  EXPECT_THAT(parse_native_params(object.dump()).status().message(), HasSubstr("yarn"));
}

}  // namespace
}  // namespace octet::testing
