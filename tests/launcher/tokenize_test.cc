// octet tokenize and octet detokenize.
#include "tests/launcher/run_octet.h"

namespace octet::testing {
namespace {

using nlohmann::json;

const std::string kMixtralTokenizer = kSourceDir / "tests/data/tokenizers/mixtral-8x7b.tokenizer.model";

TEST(Tokenize, IdsAreTheReferences) {
  const json cases = read_json(kGoldenDir / "tokenizer.json");
  for (size_t i = 0; i < cases.size(); i += 3) {  // a process each; all of them are the tokenizer's own tests'
    const std::string text = cases[i]["text"];
    const json object =
        json_of({"tokenize", "--tokenizer", kMixtralTokenizer, "--no-bos", "--json", "-"}, {.input = text});
    EXPECT_EQ(object["ids"], cases[i]["ids"]) << text;
    EXPECT_EQ(object["pieces"].size(), cases[i]["ids"].size());
    EXPECT_EQ(output_of({"detokenize", "--tokenizer", kMixtralTokenizer, "-"}, {.input = cases[i]["ids"].dump()}),
              cases[i]["decoded"].get<std::string>() + "\n");
  }
}

TEST(Tokenize, BosComesFirstUnlessItIsLeftOut) {
  const json prompt = read_json(kGoldenDir / "octet-demo/prompts.json")["prompts"][0];
  const std::string ids = spaced(prompt["ids"]);
  EXPECT_EQ(output_of({"tokenize", prompt["text"]}), ids + "\n");
  EXPECT_EQ(output_of({"tokenize", prompt["text"], "--no-bos"}), ids.substr(2) + "\n");
  EXPECT_EQ(json_of({"tokenize", prompt["text"], "--json"}),
            json({{"ids", prompt["ids"]}, {"pieces", {"<s>", "▁In", "▁the", "▁beginning"}}}));
}

TEST(Tokenize, RoundTripOfAFile) {
  const TempFolder folder;
  const std::string text = read_file(kDemoModel / "heldout.es.txt").substr(0, 20000);
  write_file(folder / "text", text);
  write_file(folder / "ids", output_of({"tokenize", "--file", folder / "text"}));
  EXPECT_EQ(output_of({"detokenize", "--file", folder / "ids"}), text + "\n");
}

TEST(Detokenize, ReadsNumbersAndJson) {
  EXPECT_EQ(output_of({"detokenize", "1 1162 267\n3671"}), "In the beginning\n");
  EXPECT_EQ(output_of({"detokenize", "[1162, 267, 3671]"}), "In the beginning\n");
}

TEST(Detokenize, WhatIsNoTokenIsRefused) {
  expect_refused({"detokenize", "1 4096"}, {"4096"});
  expect_refused({"detokenize", "--", "-1"}, {"-1"});
  expect_refused({"detokenize", "1 two"}, {"two"});
  expect_refused({"detokenize", "[1, 2"}, {"JSON"});
  expect_refused({"detokenize", "[1, 2.5]"}, {"2.5"});
  expect_refused({"detokenize", "99999999999999"}, {"99999999999999"});
}

TEST(Tokenize, MissingTokenizerIsRefusedByPath) {
  expect_refused({"tokenize", "x", "--model", kGoldenDir / "plain-f32"}, {"plain-f32/tokenizer.model"});
  expect_refused({"tokenize", "x", "--tokenizer", "/nowhere/tokenizer.model"}, {"/nowhere/tokenizer.model"});
}

}  // namespace
}  // namespace octet::testing
