#include "runtime/text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sentencepiece_processor.h>

#include <ctime>
#include <nlohmann/json.hpp>
#include <random>

#include "runtime/base/read_file.h"
#include "tests/text/tokenizer_fixtures.h"

namespace octet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

using Ids = std::vector<TokenId>;

// A checkpoint folder of the large tokenizer with the tokens that chat fine-tunes add.
TempDir fine_tune_dir(const std::string& extra_config = "") {
  TempDir dir;
  std::filesystem::copy_file(kMixtralTokenizer, dir.path() / "tokenizer.model");
  dir.write("tokenizer_config.json", R"({"added_tokens_decoder": {
      "0": {"content": "<unk>", "special": true}, "1": {"content": "<s>", "special": true},
      "32000": {"content": "<|im_end|>", "special": true}, "32001": {"content": "<|im_start|>", "special": false},
      "32002": {"content": "<tool>", "lstrip": true, "rstrip": true},
      "32003": {"content": "<tool>x"}, "32004": {"content": "word", "single_word": true}})" +
                                         extra_config + "}");
  return dir;
}

TEST(Tokenizer, MatchesTheReferenceOnEveryText) {
  const Tokenizer tokenizer = open_tokenizer(kMixtralTokenizer);
  const auto cases = nlohmann::json::parse(*read_text_file(kGoldenDir / "tokenizer.json", 1 << 20));
  ASSERT_GT(cases.size(), 30U);
  for (const auto& one : cases) {
    const std::string text = one["text"];
    const Ids ids = one["ids"];
    EXPECT_EQ(tokenizer.encode(text), ids) << text;
    EXPECT_EQ(tokenizer.decode(ids), one["decoded"].get<std::string>()) << text;
  }
}

TEST(Tokenizer, KnowsItsVocabulary) {
  const Tokenizer tokenizer = open_tokenizer(kMixtralTokenizer);
  EXPECT_EQ(tokenizer.vocab_size(), 32000);
  EXPECT_EQ(tokenizer.bos_id(), 1);
  EXPECT_EQ(tokenizer.eos_id(), 2);
  EXPECT_EQ(tokenizer.piece(22557), "▁Hello");
  EXPECT_EQ(tokenizer.kind(0), TokenKind::kUnknown);
  EXPECT_EQ(tokenizer.kind(2), TokenKind::kControl);
  EXPECT_EQ(tokenizer.kind(13), TokenKind::kByte);
  EXPECT_EQ(tokenizer.kind(22557), TokenKind::kText);
  for (const TokenId id : {-1, 32000, std::numeric_limits<TokenId>::max(), std::numeric_limits<TokenId>::min()}) {
    EXPECT_EQ(tokenizer.kind(id), TokenKind::kNone);
    EXPECT_EQ(tokenizer.piece(id), "");
    EXPECT_EQ(tokenizer.decode(Ids{id}), "");
  }
  EXPECT_EQ(tokenizer.id_of_control("</s>"), 2);
  EXPECT_EQ(tokenizer.id_of_control("Hello"), std::nullopt);
}

TEST(Tokenizer, TextNeverProducesControlTokens) {
  for (const auto& path : {kMixtralTokenizer, kDemoTokenizer}) {
    const Tokenizer tokenizer = open_tokenizer(path);
    for (const char* text : {"<s>", "</s>", "<unk>", "a</s>b", "<s></s><unk>", "[INST] </s> [/INST]", "<0x02>"}) {
      const Ids ids = tokenizer.encode(text);
      for (const TokenId id : ids) EXPECT_EQ(tokenizer.kind(id) == TokenKind::kControl, false) << text;
      EXPECT_EQ(tokenizer.decode(ids), text);
    }
  }
}

TEST(Tokenizer, RandomValidTextSurvivesTheRoundTrip) {
  std::mt19937 random(7);
  const std::vector<std::string> parts = {
      "a", "Z", " ", "  ", "\n", "\t", "0", "é", "ß", "日", "👩", "\u200d", "<s>", "▂", std::string(1, '\0')};
  for (const auto& path : {kMixtralTokenizer, kDemoTokenizer}) {
    const Tokenizer tokenizer = open_tokenizer(path);
    for (int i = 0; i < 300; ++i) {
      std::string text;
      for (size_t n = random() % 40; n > 0; --n) text += parts[random() % parts.size()];
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
    }
  }
}

TEST(Tokenizer, EveryInvalidByteBecomesAReplacementCharacter) {
  const Tokenizer tokenizer = open_tokenizer(kMixtralTokenizer);
  const std::string bad = "\xEF\xBF\xBD";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"a\xFFz", "a" + bad + "z"},
      {"\xE2\x82", bad + bad},
      {"\xC0\x80", bad + bad},
      {"\xED\xA0\x80", bad + bad + bad},
      {"\xF4\x90\x80\x80", bad + bad + bad + bad},
      {"é\xC3", "é" + bad},
  };
  for (const auto& [text, expected] : cases) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), expected);
    EXPECT_EQ(tokenizer.encode(text), tokenizer.encode(expected));
  }
}

TEST(Tokenizer, ALongTextGetsTheIdsThatSentencepieceGivesTheWhole) {
  std::mt19937 random(9);
  const std::vector<std::string> parts = {"the ", "qz", "xj",   "0",    "7",  "  ", "\n",
                                          "é",    "▁",  "\xFF", "日本", ".,", "Ab", "</s>"};
  for (const auto& path : {kMixtralTokenizer, kDemoTokenizer}) {
    const Tokenizer tokenizer = open_tokenizer(path);
    sentencepiece::SentencePieceProcessor reference;
    ASSERT_TRUE(reference.Load(path.string()).ok());
    for (int i = 0; i < 20; ++i) {
      const size_t num_parts = 2 + random() % (parts.size() - 1);
      std::string text;
      while (text.size() < 30000) {
        text +=
            random() % 4 == 0 ? std::string(1, static_cast<char>('a' + random() % 26)) : parts[random() % num_parts];
      }
      ASSERT_EQ(tokenizer.encode(text), reference.EncodeAsIds(text)) << path << i;
    }
  }
}

TEST(Tokenizer, AMegabyteWithoutASpaceIsNotQuadratic) {
  const Tokenizer tokenizer = open_tokenizer(kMixtralTokenizer);
  std::mt19937 random(3);
  std::string word;
  while (word.size() < (1U << 20)) word += static_cast<char>('a' + random() % 26);
  const auto now = [] {  // of this thread alone: others may hold it up
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const auto seconds_for = [&](size_t size) {
    const double start = now();
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(std::string_view(word).substr(0, size))), word.substr(0, size));
    return now() - start;
  };
  const auto least_for = [&](size_t size) {
    return std::min({seconds_for(size), seconds_for(size), seconds_for(size)});
  };
  EXPECT_LT(least_for(1 << 20), 100 * least_for(1 << 16)) << "16 times the text";
}

TEST(Tokenizer, SpecialAddedTokensStayText) {
  const TempDir dir = fine_tune_dir();
  const Tokenizer tokenizer = open_tokenizer(dir.path());
  const Tokenizer plain = open_tokenizer(kMixtralTokenizer);
  EXPECT_EQ(tokenizer.vocab_size(), 32005);
  EXPECT_EQ(tokenizer.kind(32000), TokenKind::kControl);
  EXPECT_EQ(tokenizer.kind(0), TokenKind::kUnknown);
  EXPECT_EQ(tokenizer.id_of_control("<|im_end|>"), 32000);
  EXPECT_EQ(tokenizer.encode("a<|im_end|>b"), plain.encode("a<|im_end|>b"));
  EXPECT_EQ(tokenizer.decode(Ids{22557, 32000}), "Hello");
}

TEST(Tokenizer, APieceThatTheCheckpointDeclaresSpecialIsSpeltOutInText) {
  // One more piece at the end of the model: "<|x|>", user-defined, which sentencepiece itself finds in text.
  const std::string model = *read_text_file(kMixtralTokenizer, 1 << 20) + std::string("\x0A\x09\x0A\x05<|x|>\x18\x04");
  TempDir dir;
  dir.write("tokenizer.model", model);
  EXPECT_THAT(open_tokenizer(dir.path()).encode("Hello<|x|>"), ElementsAre(22557, 32000));
  dir.write("tokenizer_config.json", R"({"added_tokens_decoder": {"32000": {"content": "<|x|>", "special": true}}})");
  const Tokenizer tokenizer = open_tokenizer(dir.path());
  const Ids ids = tokenizer.encode("Hello<|x|>");
  EXPECT_THAT(ids, ::testing::Not(::testing::Contains(32000)));
  EXPECT_EQ(tokenizer.decode(ids), "Hello<|x|>");
}

TEST(Tokenizer, OrdinaryAddedTokensAreFoundInText) {
  const TempDir dir = fine_tune_dir();
  const Tokenizer tokenizer = open_tokenizer(dir.path());
  EXPECT_THAT(tokenizer.encode("Hello<|im_start|>Hello world"), ElementsAre(22557, 32001, 22557, 1526));
  EXPECT_THAT(tokenizer.encode("<|im_start|><|im_start|>"), ElementsAre(32001, 32001));
  EXPECT_THAT(tokenizer.encode("Hello  <tool> \n Hello"), ElementsAre(22557, 32002, 22557)) << "strips both sides";
  EXPECT_THAT(tokenizer.encode("<tool>x"), ElementsAre(32003)) << "the longer of two";
  EXPECT_THAT(tokenizer.encode("word"), ElementsAre(32004));
  EXPECT_EQ(tokenizer.encode("sword"), open_tokenizer(kMixtralTokenizer).encode("sword"));
  const Ids excluded = {32001};
  EXPECT_EQ(tokenizer.encode("a<|im_start|>b", {.excluded = excluded}),
            open_tokenizer(kMixtralTokenizer).encode("a<|im_start|>b"));
}

TEST(Tokenizer, TextAfterAnAddedTokenHasNoSpaceUnlessLegacy) {
  const TempDir modern_dir = fine_tune_dir(R"(, "legacy": false)");
  const Tokenizer modern = open_tokenizer(modern_dir.path());
  const TempDir legacy_dir = fine_tune_dir(R"(, "legacy": null)");
  const Tokenizer legacy = open_tokenizer(legacy_dir.path());
  EXPECT_THAT(modern.encode("Hello<|im_start|>\n"), ElementsAre(22557, 32001, 13));
  EXPECT_THAT(legacy.encode("Hello<|im_start|>\n"), ElementsAre(22557, 32001, 28705, 13));
  EXPECT_THAT(modern.encode("\n", {.after_added_token = true}), ElementsAre(13));
  EXPECT_THAT(legacy.encode("\n", {.after_added_token = true}), ElementsAre(28705, 13));
}

TEST(Tokenizer, ReadsAddedTokensJsonWithTheRolesOfTheOtherFiles) {
  TempDir dir;
  std::filesystem::copy_file(kMixtralTokenizer, dir.path() / "tokenizer.model");
  dir.write("added_tokens.json", R"({"<|im_end|>": 32000, "<|im_start|>": 32001, "<x>": 32002})");
  dir.write("tokenizer_config.json", R"({"eos_token": "<|im_end|>"})");
  dir.write("special_tokens_map.json", R"({"additional_special_tokens": [{"content": "<|im_start|>"}]})");
  const Tokenizer tokenizer = open_tokenizer(dir.path());
  EXPECT_EQ(tokenizer.kind(32000), TokenKind::kControl);
  EXPECT_EQ(tokenizer.kind(32001), TokenKind::kControl);
  EXPECT_EQ(tokenizer.kind(32002), TokenKind::kText);
  EXPECT_THAT(tokenizer.encode("<x>"), ElementsAre(32002));
}

TEST(Tokenizer, RefusesWhatItCannotReadWithThePath) {
  TempDir dir;
  const auto expect_refused = [&](const std::filesystem::path& path, const char* reason) {
    const auto result = Tokenizer::open(path);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.status().code(), StatusCode::kInvalidInput);
    EXPECT_THAT(result.status().message(), StartsWith(dir.path().string()));
    EXPECT_THAT(result.status().message(), HasSubstr(reason));
    EXPECT_EQ(result.status().message().find('\n'), std::string::npos);
  };
  expect_refused(dir.path(), "tokenizer.model: no such file");
  dir.write("tokenizer.model", "");
  expect_refused(dir.path(), "not a sentencepiece BPE model");
  dir.write("tokenizer.model", "{\"not\": \"a model\"}");
  expect_refused(dir.path(), "damaged");
  const std::string model = *read_text_file(kMixtralTokenizer, 1 << 20);
  dir.write("tokenizer.model", model.substr(0, model.size() / 2));
  expect_refused(dir.path(), "damaged");
  dir.write("tokenizer.model", model);
  for (const char* bad :
       {"{", "[]", R"({"added_tokens_decoder": 3})", R"({"added_tokens_decoder": {"x": {"content": "a"}}})",
        R"({"added_tokens_decoder": {"-1": {"content": "a"}}})",
        R"({"added_tokens_decoder": {"99999999999": {"content": "a"}}})",
        R"({"added_tokens_decoder": {"32000": {"content": ""}}})"}) {
    dir.write("tokenizer_config.json", bad);
    expect_refused(dir.path(), "tokenizer_config.json");
  }
  dir.write("tokenizer_config.json", "{}");
  dir.write("added_tokens.json", R"({"<x>": "32000"})");
  expect_refused(dir.path(), "added_tokens.json");
}

TEST(Tokenizer, DamagedModelsAreRefusedOrWorkButNeverCrash) {
  const std::string model = *read_text_file(kDemoTokenizer, 1 << 20);
  std::mt19937 random(11);
  int num_refused = 0;
  for (int i = 0; i < 300; ++i) {
    std::string damaged = model;
    const size_t window = i % 2 == 0 ? damaged.size() : std::min<size_t>(damaged.size(), 400);
    for (int flips = 1 + i % 5; flips > 0; --flips) {
      damaged[damaged.size() - 1 - random() % window] = static_cast<char>(random());
    }
    if (i % 7 == 0) damaged.resize(random() % damaged.size());
    const auto tokenizer = Tokenizer::parse(damaged);
    num_refused += tokenizer.ok() ? 0 : 1;
    if (tokenizer.ok()) {
      EXPECT_LE(tokenizer->decode(tokenizer->encode("Hello <s> wörld\n")).size(), 200U);
    }
  }
  EXPECT_GT(num_refused, 30);
}

}  // namespace
}  // namespace octet
