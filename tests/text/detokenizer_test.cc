#include "runtime/text/detokenizer.h"

#include <gtest/gtest.h>
#include <sentencepiece_processor.h>

#include <random>
#include <vector>

#include "runtime/base/utf8.h"
#include "tests/text/tokenizer_fixtures.h"

namespace octet {
namespace {

using Ids = std::vector<TokenId>;

class DetokenizerTest : public ::testing::TestWithParam<std::filesystem::path> {};
INSTANTIATE_TEST_SUITE_P(BothTokenizers, DetokenizerTest, ::testing::Values(kMixtralTokenizer, kDemoTokenizer),
                         [](const auto& param_info) { return param_info.index == 0 ? "mixtral" : "demo"; });

// Ids with many byte tokens among them, so that characters are cut, completed and damaged.
Ids random_ids(const Tokenizer& tokenizer, std::mt19937* random) {
  Ids ids;
  for (size_t n = (*random)() % 30; n > 0; --n) {
    const bool low = (*random)() % 3 != 0;
    ids.push_back(static_cast<TokenId>((*random)() % (low ? 262 : tokenizer.vocab_size())));
  }
  return ids;
}

std::string stream(const Tokenizer& tokenizer, const Ids& ids, DetokenizerOptions options) {
  StreamingDetokenizer detokenizer(tokenizer, options);
  std::string text;
  for (const TokenId id : ids) {
    const std::string chunk = detokenizer.add(id);
    EXPECT_TRUE(is_valid_utf8(chunk)) << "a chunk is never cut inside a character";
    text += chunk;
  }
  return text + detokenizer.flush();
}

TEST_P(DetokenizerTest, StreamsWhatSentencepieceDecodes) {
  const Tokenizer tokenizer = open_tokenizer(GetParam());
  sentencepiece::SentencePieceProcessor reference;
  ASSERT_TRUE(reference.Load(GetParam().string()).ok());
  std::mt19937 random(5);
  for (int i = 0; i < 3000; ++i) {
    const Ids ids = random_ids(tokenizer, &random);
    const std::string expected = reference.DecodeIds(ids);
    ASSERT_EQ(stream(tokenizer, ids, {.strip_leading_space = true}), expected) << ::testing::PrintToString(ids);
    ASSERT_EQ(tokenizer.decode(ids), expected);
  }
}

TEST_P(DetokenizerTest, OutputAfterAPromptCompletesTheWhole) {
  const Tokenizer tokenizer = open_tokenizer(GetParam());
  std::mt19937 random(6);
  for (int i = 0; i < 500; ++i) {
    const Ids prompt = tokenizer.encode("Once upon a time");
    const Ids output = random_ids(tokenizer, &random);
    Ids whole = prompt;
    whole.insert(whole.end(), output.begin(), output.end());
    ASSERT_EQ(tokenizer.decode(prompt) + stream(tokenizer, output, {}), tokenizer.decode(whole));
  }
}

TEST_P(DetokenizerTest, TextStreamsWithoutDelayOnceItIsCertain) {
  const Tokenizer tokenizer = open_tokenizer(GetParam());
  std::mt19937 random(8);
  for (int i = 0; i < 500; ++i) {
    const Ids ids = random_ids(tokenizer, &random);
    StreamingDetokenizer detokenizer(tokenizer, {.strip_leading_space = true});
    std::string text;
    for (size_t n = 0; n < ids.size(); ++n) {
      text += detokenizer.add(ids[n]);
      // What is missing can only be the bytes of one incomplete character, which decode shows as replacements.
      std::string whole = tokenizer.decode(std::span(ids).first(n + 1));
      ASSERT_EQ(whole.substr(0, text.size()), text);
      std::string missing = whole.substr(text.size());
      ASSERT_LE(missing.size(), 3 * kReplacementCharacter.size());
      for (; !missing.empty(); missing.erase(0, kReplacementCharacter.size())) {
        ASSERT_EQ(missing.substr(0, kReplacementCharacter.size()), kReplacementCharacter);
      }
    }
  }
}

TEST(Detokenizer, HoldsACharacterUntilItIsWhole) {
  const Tokenizer tokenizer = open_tokenizer(kMixtralTokenizer);
  StreamingDetokenizer detokenizer(tokenizer);
  EXPECT_EQ(detokenizer.add(3 + 0xF0), "");
  EXPECT_EQ(detokenizer.add(3 + 0x9F), "");
  EXPECT_EQ(detokenizer.add(3 + 0x91), "");
  EXPECT_EQ(detokenizer.add(3 + 0xA9), "👩");
  EXPECT_EQ(detokenizer.add(3 + 0xE2), "");
  EXPECT_EQ(detokenizer.add(22557), "\uFFFD Hello");
  EXPECT_EQ(detokenizer.add(3 + 0xE2), "");
  EXPECT_EQ(detokenizer.add(3 + 0x82), "");
  EXPECT_EQ(detokenizer.add(3 + 'a'), "\uFFFD\uFFFDa");
  EXPECT_EQ(detokenizer.add(3 + 0xC3), "");
  EXPECT_EQ(detokenizer.flush(), "\uFFFD");
  EXPECT_EQ(detokenizer.flush(), "");
}

TEST(Detokenizer, StripsOneLeadingSpaceOnlyAtTheStart) {
  const Tokenizer tokenizer = open_tokenizer(kMixtralTokenizer);
  const Ids ids = {1, 22557, 22557};
  EXPECT_EQ(stream(tokenizer, ids, {.strip_leading_space = true}), "Hello Hello");
  EXPECT_EQ(stream(tokenizer, ids, {}), " Hello Hello");
  EXPECT_EQ(stream(tokenizer, {28705, 22557}, {.strip_leading_space = true}), " Hello");
  EXPECT_EQ(stream(tokenizer, {13, 22557}, {.strip_leading_space = true}), "\n Hello");
}

TEST(Detokenizer, ControlTokensVanishUnlessKept) {
  const Tokenizer tokenizer = open_tokenizer(kMixtralTokenizer);
  const Ids ids = {1, 22557, 2, 99999, -7};
  EXPECT_EQ(stream(tokenizer, ids, {}), " Hello");
  EXPECT_EQ(stream(tokenizer, ids, {.keep_special = true}), "<s> Hello</s>");
}

}  // namespace
}  // namespace octet
