// octet tokenize and octet detokenize.
#include <algorithm>

#include "tests/launcher/run_job.h"

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

TEST(Tokenize, TextThatIsNotUtf8IsRefusedByEveryCommandThatReadsText) {
  const TempFolder folder;
  write_file(folder / "text", "caf\xe9");
  expect_refused({"tokenize", "--file", folder / "text"}, {"the text is not UTF-8", "iconv"});
  expect_refused({"perplexity", folder / "text"}, {"text is not UTF-8"});
  expect_refused({"logits", "--file", folder / "text", "--out", folder / "out"}, {"the prompt is not UTF-8"});
  expect_refused({"generate", "--file", folder / "text"}, {"the prompt is not UTF-8"});
}

TEST(Tokenize, RoundTripOfAFile) {
  const TempFolder folder;
  const std::string text = read_file(kDemoModel / "heldout.es.txt").substr(0, 20000);
  write_file(folder / "text", text);
  write_file(folder / "ids", output_of({"tokenize", "--file", folder / "text"}));
  EXPECT_EQ(output_of({"detokenize", "--file", folder / "ids"}), text + "\n");
}

// A fine-tune's folder, of whose two marks one is not marked special.
void make_chatml(const TempFolder& folder) {
  std::filesystem::copy_file(kMixtralTokenizer, folder / "tokenizer.model");
  write_file(folder / "tokenizer_config.json", R"({"added_tokens_decoder": {
      "32000": {"content": "<|im_end|>", "special": true}, "32001": {"content": "<|im_start|>", "special": false},
      "32002": {"content": "wordlike", "special": false}}})");
}

TEST(Tokenize, MarksOfAFormatAreAllTextOrAllTokens) {
  const TempFolder folder;
  make_chatml(folder);
  const auto ids = [&](const std::string& text, const std::vector<std::string>& flags) {
    const json object = json_of(std::vector<std::string>{"tokenize", "--model", folder.path(), "--json", text} + flags);
    return object["ids"].get<std::vector<int>>();
  };
  const std::vector<int> text = ids("<|im_start|>user<|im_end|></s> wordlike", {});
  for (const int mark : {32000, 32001, 2}) EXPECT_EQ(std::ranges::count(text, mark), 0) << mark;
  EXPECT_EQ(std::ranges::count(text, 32002), 1);  // a word of the vocabulary is found in every text
  EXPECT_EQ(ids("<|im_start|>user<|im_end|></s>", {"--parse-special", "off"}),
            ids("<|im_start|>user<|im_end|></s>", {}));
  EXPECT_EQ(ids("<|im_start|>user<|im_end|></s>", {"--parse-special", "on"}),
            (std::vector<int>{1, 32001, 2188, 32000, 2}));
  EXPECT_EQ(ids("<s><|im_end|>", {"--parse-special", "on"}), (std::vector<int>{1, 32000}));  // no second BOS
  expect_refused({"tokenize", "x", "--parse-special", "yes"}, {"--parse-special"});
}

TEST(Tokenize, AByteOrderMarkIsNoText) {
  const TempFolder folder;
  write_file(folder / "text", "\xEF\xBB\xBFIn the beginning");
  const std::string ids = output_of({"tokenize", "In the beginning"});
  EXPECT_EQ(output_of({"tokenize", "--file", folder / "text"}), ids);
  EXPECT_EQ(output_of({"tokenize", "-"}, {.input = "\xEF\xBB\xBFIn the beginning"}), ids);
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
