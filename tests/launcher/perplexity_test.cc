// octet perplexity: its figures are the reference implementation's.
#include "tests/launcher/run_octet.h"

namespace octet::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

// Four digits.
void expect_near(const json& actual, const json& expected) {
  EXPECT_NEAR(actual.get<double>(), expected.get<double>(), 1e-4 * expected.get<double>());
}

void expect_the_references(const std::string& name) {
  const json expected = read_json(kGoldenDir / "octet-demo/text.json")[name];
  const json actual = json_of({"perplexity", kDemoModel / name, "--json"});
  EXPECT_EQ(actual["tokens_scored"], expected["tokens_scored"]);
  expect_near(actual["perplexity"], expected["perplexity"]);
  ASSERT_EQ(actual["perplexity_by_position"].size(), expected["perplexity_by_position"].size());
  for (const auto& [range, value] : expected["perplexity_by_position"].items()) {
    SCOPED_TRACE(range);
    expect_near(actual["perplexity_by_position"][range], value);
  }
}

TEST(Perplexity, OfTheSpanishTextIsTheReferences) { expect_the_references("heldout.es.txt"); }
TEST(LongPerplexity, OfTheEnglishTextIsTheReferences) { expect_the_references("heldout.en.txt"); }
TEST(LongPerplexity, OfTheSourceCodeIsTheReferences) { expect_the_references("heldout.c.txt"); }

TEST(Perplexity, AStrideScoresEveryTokenOnceWithMoreInFront) {
  const TempFolder folder;
  write_file(folder / "text", read_file(kDemoModel / "heldout.en.txt").substr(0, 6000));
  const json apart = json_of({"perplexity", folder / "text", "--context", "65", "--json"});
  const json strided = json_of({"perplexity", folder / "text", "--context", "65", "--stride", "8", "--json"});
  const json chunked = json_of({"perplexity", folder / "text", "--context", "65", "--prefill-chunk", "7", "--json"});
  EXPECT_EQ(strided["tokens_scored"], apart["tokens_scored"]);
  EXPECT_LT(strided["perplexity"], apart["perplexity"]);
  EXPECT_EQ(chunked, apart);
}

TEST(Perplexity, TextIsATable) {
  const std::string table = output_of({"perplexity", "-"}, {.input = "In the beginning God created"});
  EXPECT_THAT(table, HasSubstr("1-31"));
  EXPECT_THAT(lines_of(table).back(), HasSubstr("all"));
}

TEST(Perplexity, WhatCannotBeScoredIsRefused) {
  const Launch text{.input = "In the beginning"};
  expect_refused({"perplexity", "-"}, {"no token"}, {.input = ""});
  expect_refused({"perplexity", "-", "--context", "40000"}, {"--context 40000", "32768"}, text);
  expect_refused({"perplexity", "-", "--context", "8", "--stride", "8"}, {"stride"}, text);
  expect_refused({"perplexity", "-", "--model", kGoldenDir / "plain-f32"}, {"tokenizer.model"}, text);
  expect_refused({"perplexity", "/nowhere/text"}, {"/nowhere/text"});
  expect_refused({"perplexity"}, {"FILE"});
}

}  // namespace
}  // namespace octet::testing
