#include "runtime/model/generation_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/model/checkpoint_builder.h"
#include "tests/model/temp_folder.h"

namespace octet {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

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

TEST(GenerationConfig, ValuesOutOfRangeAreNamed) {
  for (const char* text :
       {R"({"temperature": -0.1})", R"({"temperature": 2.1})", R"({"top_k": -1})", R"({"top_k": 1.5})",
        R"({"top_p": 0})", R"({"top_p": 1.1})", R"({"min_p": -1})", R"({"min_p": 2})", R"({"repetition_penalty": 0})",
        R"({"do_sample": 1})", R"({"eos_token_id": 100})", R"({"eos_token_id": [-1]})"}) {
    const auto config = parse_generation_config(text, 100);
    ASSERT_FALSE(config.ok()) << text;
    const std::string_view key = std::string_view(text).substr(2, std::string_view(text).find('"', 2) - 2);
    EXPECT_THAT(config.status().message(), HasSubstr(std::string(key) + " is "));
  }
}

TEST(GenerationConfig, ItsEosIdsAddToTheConfigurations) {
  const TempFolder folder;
  TestCheckpoint checkpoint = make_checkpoint();
  checkpoint.generation = {{"eos_token_id", {7, 2}}, {"top_k", 4}};
  checkpoint.write(folder.path());
  const auto opened = Checkpoint::open(folder.path());
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_THAT(opened->config().eos_ids, ElementsAre(2, 7));
  EXPECT_EQ(opened->generation_defaults().top_k, 4);
}

}  // namespace
}  // namespace octet
