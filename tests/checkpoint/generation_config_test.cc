#include "runtime/checkpoint/generation_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/checkpoint/sampling_params.h"
#include "tests/base/temp_folder.h"
#include "tests/checkpoint/checkpoint_builder.h"

namespace octet {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

GenerationConfig parse(const char* text) {
  auto config = parse_generation_config(text, 100);
  OCTET_CHECK(config.ok(), "{}", config.status().message());
  return *config;
}

TEST(GenerationConfig, AbsentAndNullValuesAreNeutral) {
  for (const char* text : {"{}", R"({"temperature": null, "top_k": null, "eos_token_id": null})"}) {
    const GenerationConfig config = parse(text);
    EXPECT_EQ(config.defaults.temperature, 1.0);
    EXPECT_EQ(config.defaults.top_k, 0);
    EXPECT_EQ(config.defaults.top_p, 1.0);
    EXPECT_EQ(config.defaults.min_p, 0.0);
    EXPECT_EQ(config.defaults.repetition_penalty, 1.0);
    EXPECT_THAT(config.eos_ids, IsEmpty());
  }
}

TEST(GenerationConfig, ValuesAreTaken) {
  const GenerationConfig config = parse(R"({"do_sample": true, "temperature": 0.7, "top_k": 50, "top_p": 0.9,
    "min_p": 0.05, "repetition_penalty": 1.1, "eos_token_id": [2, 99]})");
  EXPECT_EQ(config.defaults.temperature, 0.7);
  EXPECT_EQ(config.defaults.top_k, 50);
  EXPECT_EQ(config.defaults.top_p, 0.9);
  EXPECT_EQ(config.defaults.min_p, 0.05);
  EXPECT_EQ(config.defaults.repetition_penalty, 1.1);
  EXPECT_THAT(config.eos_ids, ElementsAre(2, 99));
}

TEST(GenerationConfig, NotSamplingIsTemperatureZero) {
  EXPECT_EQ(parse(R"({"do_sample": false, "temperature": 0.7})").defaults.temperature, 0.0);
}

// Damage: of another type, or negative where nothing is.
TEST(GenerationConfig, ValuesThatAreNoneAreNamed) {
  for (const char* text :
       {R"({"temperature": -0.1})", R"({"temperature": "warm"})", R"({"top_k": -2})", R"({"top_k": 1.5})",
        R"({"min_p": -1})", R"({"do_sample": 1})", R"({"eos_token_id": [-1]})", R"({"eos_token_id": "</s>"})"}) {
    const auto config = parse_generation_config(text, 100);
    ASSERT_FALSE(config.ok()) << text;
    const std::string_view key = std::string_view(text).substr(2, std::string_view(text).find('"', 2) - 2);
    EXPECT_THAT(config.status().message(), HasSubstr(std::string(key) + " is "));
  }
}

TEST(GenerationConfig, DefaultsOutOfBoundsAreLeftOutWithALineEach) {
  struct Case {
    const char* text;
    const char* line;
  };
  for (const auto& [text, line] :
       {Case{R"({"temperature": 3})", "temperature is 3, not a number from 0 to 2; it is left out"},
        Case{R"({"temperature": 2.1})", "temperature is 2.1"}, Case{R"({"top_p": 0})", "top_p is 0, not"},
        Case{R"({"top_p": 1.1})", "top_p is 1.1"}, Case{R"({"min_p": 2})", "min_p is 2"},
        Case{R"({"top_k": 4294967296})", "top_k is 4294967296"},
        Case{R"({"repetition_penalty": 0})", "repetition_penalty is 0, not a number from 0.1 to 10"},
        Case{R"({"repetition_penalty": 50})", "repetition_penalty is 50"}}) {
    const GenerationConfig config = parse(text);
    EXPECT_THAT(config.left_out, ElementsAre(HasSubstr(line)));
    EXPECT_EQ(config.defaults.temperature, 1.0);
    EXPECT_EQ(config.defaults.top_k, 0);
    EXPECT_EQ(config.defaults.top_p, 1.0);
    EXPECT_EQ(config.defaults.min_p, 0.0);
    EXPECT_EQ(config.defaults.repetition_penalty, 1.0);
  }
  EXPECT_THAT(parse(R"({"temperature": 3, "top_p": 0, "top_k": 7})").left_out, SizeIs(2));
}

// What is taken as a default must be taken of a request, too.
TEST(GenerationConfig, WhateverIsTakenIsWithinTheBoundsOfARequest) {
  for (const double value : {0.0, 1e-30, 0.05, 0.1, 0.5, 1.0, 1.5, 2.0, 9.9, 10.0, 1e6, 1e300}) {
    for (const char* key : {"temperature", "top_p", "min_p", "repetition_penalty"}) {
      const GenerationConfig config = parse(nlohmann::json({{key, value}}).dump().c_str());
      SamplingParams params = config.defaults;
      params.seed = 1;
      EXPECT_TRUE(params.validate(100).ok()) << key << " " << value << ": " << params.validate(100).message();
    }
  }
}

TEST(GenerationConfig, TopKOfMinusOneIsOff) {
  const GenerationConfig config = parse(R"({"top_k": -1})");
  EXPECT_EQ(config.defaults.top_k, 0);
  EXPECT_THAT(config.left_out, IsEmpty());
}

TEST(GenerationConfig, EndTokensThatCannotOccurAreLeftOut) {
  const GenerationConfig list = parse(R"({"eos_token_id": [2, 100, 7, 9000000000]})");
  EXPECT_THAT(list.eos_ids, ElementsAre(2, 7));
  EXPECT_THAT(list.left_out, ElementsAre(HasSubstr("eos_token_id 100 is beyond the vocabulary of 100"),
                                         HasSubstr("eos_token_id 9000000000 is beyond")));
  const GenerationConfig alone = parse(R"({"eos_token_id": 100})");
  EXPECT_THAT(alone.eos_ids, IsEmpty());
  EXPECT_THAT(alone.left_out, SizeIs(1));
}

class GenerationConfigOfACheckpoint : public testing::Test {
 protected:
  Checkpoint open(const std::string& generation_config = "") {
    checkpoint_.write(folder_.path());
    auto opened = Checkpoint::open(folder_.path(), {.generation_config = generation_config});
    OCTET_CHECK(opened.ok(), "{}", opened.status().message());
    return *std::move(opened);
  }

  TempFolder folder_;
  TestCheckpoint checkpoint_ = make_checkpoint();
};

TEST_F(GenerationConfigOfACheckpoint, ItsEndTokensCountInsteadOfTheConfigurations) {
  checkpoint_.config["eos_token_id"] = {3, 4};
  checkpoint_.generation = {{"eos_token_id", {7, 2}}, {"top_k", 4}};
  EXPECT_THAT(open().config().eos_ids, ElementsAre(7, 2));
  EXPECT_EQ(open().generation_defaults().top_k, 4);
  checkpoint_.generation = {{"top_k", 4}};
  EXPECT_THAT(open().config().eos_ids, ElementsAre(3, 4));
}

TEST_F(GenerationConfigOfACheckpoint, WithoutAnEndTokenThatCanOccurTheConfigurationsCount) {
  checkpoint_.config["eos_token_id"] = {3, 17};
  checkpoint_.generation = {{"eos_token_id", 32000}, {"temperature", 3}};
  const Checkpoint opened = open();
  EXPECT_THAT(opened.config().eos_ids, ElementsAre(3));
  EXPECT_THAT(opened.remarks(),
              ElementsAre(HasSubstr("/config.json: eos_token_id 17 is beyond the vocabulary of 17"),
                          HasSubstr("/generation_config.json: temperature is 3, not"),
                          HasSubstr("/generation_config.json: eos_token_id 32000 is beyond the vocabulary of 17")));
}

TEST_F(GenerationConfigOfACheckpoint, AnotherFileOrNoneMayTakeItsPlace) {
  checkpoint_.generation = {{"eos_token_id", 7}, {"top_k", 4}};
  EXPECT_EQ(open("none").generation_defaults().top_k, 0);
  EXPECT_THAT(open("none").config().eos_ids, ElementsAre(2));
  write_file(folder_ / "other.json", R"({"top_k": 9})");
  EXPECT_EQ(open(folder_ / "other.json").generation_defaults().top_k, 9);
  EXPECT_THAT(open(folder_ / "other.json").config().eos_ids, ElementsAre(2));
  const auto missing = Checkpoint::open(folder_.path(), {.generation_config = "/nowhere.json"});
  EXPECT_THAT(missing.status().message(), HasSubstr("/nowhere.json: No such file"));
}

}  // namespace
}  // namespace octet
