// A flag for each row of the table of generation parameters.
#include "launcher/sampling_flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/checkpoint/param_cases.h"

namespace octet::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

std::string flag_of(const GenerationParam& param) {
  std::string flag = std::string("--") + (*param.flag == '\0' ? param.name : param.flag);
  std::ranges::replace(flag, '_', '-');
  return flag;
}

// The flag with a value of a batch line: given again for each element, alone for a switch.
std::vector<std::string> words_of(const GenerationParam& param, const nlohmann::json& value) {
  const auto text = [](const nlohmann::json& one) { return one.is_string() ? one.get<std::string>() : one.dump(); };
  std::vector<std::string> words;
  const nlohmann::json values = value.is_structured() ? value : nlohmann::json::array({value});
  for (const auto& [key, element] : values.items()) {
    words.push_back(flag_of(param));
    if (value.is_object()) {
      words.push_back(key + "=" + element.dump());
    } else if (!value.is_boolean()) {
      words.push_back(text(element));
    }
  }
  return words;
}

Result<GenerationParams> parse(std::vector<std::string> words, const GenerationDefaults& defaults = {}) {
  CLI::App app;
  SamplingFlags flags;
  flags.declare(app);
  std::ranges::reverse(words);  // as CLI11 wants them
  app.parse(std::move(words));
  return flags.params(defaults);
}

TEST(SamplingFlagsTable, EachFlagSetsWhatItsKeyDoes) {
  for (const GenerationParam& param : generation_params()) {
    const nlohmann::json value = good_value(param);
    GenerationParams expected;
    ASSERT_TRUE(set_generation_param(param.name, value, expected).ok());
    const auto params = parse(words_of(param, value));
    ASSERT_TRUE(params.ok()) << params.status().message();
    EXPECT_THAT(differences(*params, expected), IsEmpty());
    EXPECT_THAT(differences(*params, {}), ElementsAre(param.name));
  }
}

TEST(SamplingFlagsTable, WithoutFlagsAllAreDefaults) {
  EXPECT_THAT(differences(*parse({}), {}), IsEmpty());
  GenerationDefaults defaults;
  defaults.min_p = 0.5;
  EXPECT_THAT(differences(*parse({}, defaults), {}), ElementsAre("min_p"));
}

TEST(SamplingFlagsTable, HelpHasEachInItsPlace) {
  CLI::App app;
  SamplingFlags flags;
  flags.declare(app);
  const std::string help = app.help();
  size_t before = 0;
  for (const GenerationParam& param : generation_params()) {
    const size_t place = help.find("  " + flag_of(param) + " ");
    ASSERT_NE(place, std::string::npos) << param.name;
    EXPECT_GT(place, before) << param.name;
    before = place;
    const CLI::Option* option = app.get_option(flag_of(param));
    EXPECT_EQ(option->get_description(), param.help);
    if (*param.value_name != '\0') {
      EXPECT_EQ(option->get_type_name(), param.value_name);
    }
  }
}

TEST(SamplingFlagsTable, AWrongValueIsNamedWithItsFlag) {
  for (const GenerationParam& param : generation_params()) {
    const nlohmann::json value = good_value(param);
    if (value.is_string() || value.is_boolean() || (value.is_array() && value[0].is_string())) continue;
    const auto params = parse({flag_of(param), "many"});
    ASSERT_FALSE(params.ok()) << param.name;
    EXPECT_THAT(params.status().message(), StartsWith(flag_of(param) + ": 'many' is not "));
  }
  EXPECT_EQ(parse({"--top-k", "1.5"}).status().message(), "--top-k '1.5': top_k is number, not an integer");
}

}  // namespace
}  // namespace octet::testing
