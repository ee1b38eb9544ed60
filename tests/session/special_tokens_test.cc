// Which tokens are special, whatever file says so. Expected values are those of Hugging Face's tokenizer
// (LlamaTokenizer of Transformers 5.24) on the same folders, except that a token that no vocabulary has gets no new id
// here.
#include "runtime/session/special_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/text/tokenizer_fixtures.h"

namespace octet {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using Ids = std::vector<TokenId>;

const json kDecoder = {{"0", {{"content", "<unk>"}, {"special", true}}},
                       {"1", {{"content", "<s>"}, {"special", true}}},
                       {"2", {{"content", "</s>"}, {"special", true}}},
                       {"32000", {{"content", "<|im_end|>"}, {"special", true}}}};

// The tokenizer of a folder with these files beside Mixtral's tokenizer.model; null: no such file.
Result<Tokenizer> open_with(const json& config, const json& map = nullptr) {
  const TempDir dir;
  std::filesystem::copy_file(kMixtralTokenizer, dir.path() / "tokenizer.model");
  if (!config.is_null()) dir.write("tokenizer_config.json", config.dump());
  if (!map.is_null()) dir.write("special_tokens_map.json", map.dump());
  return Tokenizer::open(dir.path());
}

Ids hello(const Tokenizer& tokenizer) { return tokenizer.with_special_tokens(tokenizer.encode("Hello")); }

TEST(SpecialTokens, TokenizerModelAloneNamesThem) {
  for (const json& config : {json(), json::object()}) {
    const auto tokenizer = open_with(config);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    EXPECT_THAT(hello(*tokenizer), ElementsAre(1, 22557));
    EXPECT_EQ(tokenizer->bos_id(), 1);
    EXPECT_EQ(tokenizer->eos_id(), 2);
    EXPECT_EQ(tokenizer->unk_id(), 0);
    EXPECT_EQ(tokenizer->pad_id(), std::nullopt);
  }
}

TEST(SpecialTokens, TheConfigurationSaysWhatStandsAroundAText) {
  EXPECT_THAT(hello(*open_with({{"add_bos_token", false}})), ElementsAre(22557));
  EXPECT_THAT(hello(*open_with({{"add_bos_token", true}})), ElementsAre(1, 22557));
  EXPECT_THAT(hello(*open_with({{"add_bos_token", nullptr}})), ElementsAre(1, 22557));
  EXPECT_THAT(hello(*open_with({{"add_eos_token", true}})), ElementsAre(1, 22557, 2));
  EXPECT_THAT(hello(*open_with({{"add_bos_token", false}, {"add_eos_token", true}})), ElementsAre(22557, 2));
}

TEST(SpecialTokens, TheConfigurationNamesThem) {
  for (const json& token : {json("</s>"), json({{"content", "</s>"}, {"__type", "AddedToken"}, {"lstrip", false}})}) {
    const auto tokenizer = open_with({{"bos_token", token}});
    EXPECT_EQ(tokenizer->bos_id(), 2);
    EXPECT_THAT(hello(*tokenizer), ElementsAre(2, 22557));
  }
  const auto none = open_with({{"bos_token", nullptr}, {"pad_token", "<unk>"}});
  EXPECT_EQ(none->bos_id(), std::nullopt);
  EXPECT_EQ(none->pad_id(), 0);
  EXPECT_FALSE(none->adds_bos());
  EXPECT_THAT(hello(*none), ElementsAre(22557));
  const auto tuned = open_with({{"eos_token", "<|im_end|>"}, {"added_tokens_decoder", kDecoder}});
  EXPECT_EQ(tuned->eos_id(), 32000);
}

// Older writers keep the last word in special_tokens_map.json; those that write added_tokens_decoder do not.
TEST(SpecialTokens, TheMapCountsWhereTheConfigurationIsOfAnOlderWriter) {
  const json map = {{"bos_token", "<unk>"}};
  EXPECT_EQ(open_with({{"bos_token", "</s>"}}, map)->bos_id(), 0);
  EXPECT_EQ(open_with(nullptr, map)->bos_id(), 0);
  EXPECT_EQ(open_with({{"bos_token", "</s>"}, {"added_tokens_decoder", kDecoder}}, map)->bos_id(), 2);
}

TEST(SpecialTokens, ANameThatNoTokenHasIsAnErrorOnlyWhereItWouldBePutIntoText) {
  EXPECT_EQ(open_with({{"pad_token", "[PAD]"}})->pad_id(), std::nullopt);
  EXPECT_EQ(open_with({{"eos_token", "[END]"}})->eos_id(), std::nullopt);
  EXPECT_EQ(open_with({{"bos_token", "[START]"}, {"add_bos_token", false}})->bos_id(), std::nullopt);
  EXPECT_THAT(open_with({{"bos_token", "[START]"}}).status().message(),
              HasSubstr("tokenizer_config.json: bos_token is '[START]', which is no token of the tokenizer"));
  EXPECT_THAT(open_with({{"bos_token", "<s>"}}, {{"bos_token", "[START]"}}).status().message(),
              HasSubstr("special_tokens_map.json: bos_token is '[START]'"));
  EXPECT_THAT(open_with({{"eos_token", "[END]"}, {"add_eos_token", true}}).status().message(),
              HasSubstr("tokenizer_config.json: eos_token is '[END]'"));
}

TEST(SpecialTokens, OneAnswerOfConfigurationAndTokenizer) {
  ModelConfig config;
  config.vocab_size = 32000;
  config.bos_id = 7;
  config.eos_ids = {2, 9};
  const SpecialTokens alone = resolve_special_tokens(config, nullptr);
  EXPECT_EQ(alone.bos, 7);
  EXPECT_EQ(alone.begin, 7);
  EXPECT_THAT(alone.end, ElementsAre(2, 9));
  const auto named = open_with({{"bos_token", "</s>"}, {"add_bos_token", false}});
  const SpecialTokens both = resolve_special_tokens(config, &*named);
  EXPECT_EQ(both.bos, 2);
  EXPECT_EQ(both.begin, 2);
  EXPECT_EQ(both.eos, 2);
  EXPECT_FALSE(both.add_bos);
  EXPECT_THAT(both.end, ElementsAre(2, 9));
  const auto none = open_with({{"bos_token", nullptr}});
  EXPECT_EQ(resolve_special_tokens(config, &*none).bos, std::nullopt);
  EXPECT_EQ(resolve_special_tokens(config, &*none).begin, 7);
}

}  // namespace
}  // namespace octet
