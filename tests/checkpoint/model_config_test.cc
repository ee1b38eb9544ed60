#include "runtime/checkpoint/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/checkpoint/checkpoint_builder.h"

namespace octet {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// The configuration that Mixtral 8x7B publishes.
json mixtral_8x7b() {
  return json::parse(R"({"architectures": ["MixtralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1,
    "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
    "max_position_embeddings": 32768, "model_type": "mixtral", "num_attention_heads": 32, "num_experts_per_tok": 2,
    "num_hidden_layers": 32, "num_key_value_heads": 8, "num_local_experts": 8, "output_router_logits": false,
    "rms_norm_eps": 1e-05, "rope_theta": 1000000.0, "router_aux_loss_coef": 0.02, "sliding_window": null,
    "tie_word_embeddings": false, "torch_dtype": "bfloat16", "use_cache": true, "vocab_size": 32000})");
}

ModelConfig parse(const json& object) {
  auto config = parse_hf_config(object.dump());
  OCTET_CHECK(config.ok(), "{}", config.status().message());
  return *config;
}

std::string refusal(const Result<ModelConfig>& config) {
  EXPECT_FALSE(config.ok());
  EXPECT_EQ(config.status().code(), config.ok() ? StatusCode::kOk : StatusCode::kInvalidInput);
  return config.status().message();
}

TEST(HfConfig, Mixtral8x7b) {
  const ModelConfig config = parse(mixtral_8x7b());
  EXPECT_EQ(config.hidden_size, 4096);
  EXPECT_EQ(config.intermediate_size, 14336);
  EXPECT_EQ(config.num_layers, 32);
  EXPECT_EQ(config.num_heads, 32);
  EXPECT_EQ(config.num_kv_heads, 8);
  EXPECT_EQ(config.head_dim, 128);
  EXPECT_EQ(config.vocab_size, 32000);
  EXPECT_EQ(config.num_experts, 8);
  EXPECT_EQ(config.experts_per_token, 2);
  EXPECT_EQ(config.max_positions, 32768);
  EXPECT_EQ(config.sliding_window, 0);
  EXPECT_EQ(config.rope_theta, 1e6);
  EXPECT_EQ(config.rms_norm_eps, 1e-5F);
  EXPECT_FALSE(config.tie_embeddings);
  EXPECT_EQ(config.rope_pairs, RopePairs::kHalves);
  EXPECT_EQ(config.bos_id, 1);
  EXPECT_THAT(config.eos_ids, ElementsAre(2));
}

TEST(HfConfig, CountsTheParametersThatMixtralPublishes) {
  const ModelConfig config = parse(mixtral_8x7b());
  EXPECT_EQ(config.num_parameters(), 46'702'792'704);
  EXPECT_EQ(config.num_active_parameters(), 12'879'925'248);
}

TEST(HfConfig, HeadDimMayDifferFromTheQuotient) {
  json object = mixtral_8x7b();
  object["head_dim"] = 64;
  EXPECT_EQ(parse(object).head_dim, 64);
  object["head_dim"] = nullptr;
  EXPECT_EQ(parse(object).head_dim, 128);
}

TEST(HfConfig, NestedRopeParametersWin) {
  json object = mixtral_8x7b();
  object["rope_parameters"] = {{"rope_theta", 500.0}, {"rope_type", "default"}};
  EXPECT_EQ(parse(object).rope_theta, 500.0);
  object.erase("rope_theta");
  EXPECT_EQ(parse(object).rope_theta, 500.0);
  object.erase("rope_parameters");
  EXPECT_EQ(parse(object).rope_theta, 1e6);
}

TEST(HfConfig, EosIsOneIdOrAList) {
  json object = mixtral_8x7b();
  object["eos_token_id"] = {7, 31999};
  EXPECT_THAT(parse(object).eos_ids, ElementsAre(7, 31999));
  object["eos_token_id"] = nullptr;
  EXPECT_THAT(parse(object).eos_ids, IsEmpty());
}

TEST(HfConfig, DtypeWordsDoNotMatter) {
  json object = mixtral_8x7b();
  object["torch_dtype"] = 7;
  object["dtype"] = "int1";
  EXPECT_TRUE(parse_hf_config(object.dump()).ok());
}

// Keys without which there is no model.
TEST(HfConfig, EveryMissingSizeIsNamed) {
  for (const char* key :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
        "vocab_size", "num_local_experts", "num_experts_per_tok", "max_position_embeddings"}) {
    json object = mixtral_8x7b();
    object.erase(key);
    EXPECT_THAT(refusal(parse_hf_config(object.dump())), HasSubstr(std::string(key) + " is missing"));
  }
}

struct BadValue {
  const char* key;
  const char* value;  // JSON
  const char* reason;
};

class BadHfValue : public testing::TestWithParam<BadValue> {};

TEST_P(BadHfValue, IsRefusedByName) {
  json object = mixtral_8x7b();
  object[GetParam().key] = json::parse(GetParam().value);
  const std::string message = refusal(parse_hf_config(object.dump()));
  EXPECT_THAT(message, HasSubstr(GetParam().key));
  EXPECT_THAT(message, HasSubstr(GetParam().reason));
}

INSTANTIATE_TEST_SUITE_P(
    Values, BadHfValue,
    testing::Values(
        BadValue{"model_type", "\"llama\"", "is 'llama'; it must be 'mixtral'"},
        BadValue{"model_type", "null", "it must be 'mixtral'"}, BadValue{"model_type", "7", "must be a string"},
        BadValue{"architectures", R"(["LlamaForCausalLM"])", "MixtralForCausalLM"},
        BadValue{"architectures", "7", "MixtralForCausalLM"}, BadValue{"hidden_act", "\"gelu\"", "must be 'silu'"},
        BadValue{"quantization_config", R"({"quant_method": "awq"})", "BF16, F16 or F32"},
        BadValue{"hidden_size", "0", "is 0; it must be an integer from 1 to 262144"},
        BadValue{"hidden_size", "-4096", "is -4096"}, BadValue{"hidden_size", "4096.5", "must be an integer"},
        BadValue{"hidden_size", "\"4096\"", "must be an integer"},
        BadValue{"hidden_size", "18446744073709551615", "must be an integer"},
        BadValue{"hidden_size", "1e30", "must be an integer"}, BadValue{"hidden_size", "[4096]", "must be an integer"},
        BadValue{"hidden_size", "4100", "must be a multiple of num_attention_heads"},
        BadValue{"intermediate_size", "1048577", "from 1 to 1048576"},
        BadValue{"num_hidden_layers", "1000000000", "is 1000000000; it must be an integer from 1 to 1024"},
        BadValue{"num_attention_heads", "0", "from 1"}, BadValue{"num_attention_heads", "4097", "to 4096"},
        BadValue{"num_key_value_heads", "0", "from 1"},
        BadValue{"num_key_value_heads", "5", "must be a multiple of num_key_value_heads, which is 5"},
        BadValue{"num_key_value_heads", "64", "must be a multiple of num_key_value_heads"},
        BadValue{"head_dim", "0", "from 2"}, BadValue{"head_dim", "127", "even"}, BadValue{"head_dim", "8192", "4096"},
        BadValue{"vocab_size", "0", "from 1"}, BadValue{"vocab_size", "16777217", "to 16777216"},
        BadValue{"num_local_experts", "0", "from 1"}, BadValue{"num_local_experts", "1025", "to 1024"},
        BadValue{"num_experts_per_tok", "0", "from 1"},
        BadValue{"num_experts_per_tok", "9", "is 9; it must be at most num_local_experts, which is 8"},
        BadValue{"max_position_embeddings", "0", "from 1"},
        BadValue{"max_position_embeddings", "16777217", "to 16777216"}, BadValue{"sliding_window", "0", "from 1"},
        BadValue{"sliding_window", "-1", "from 1"}, BadValue{"rms_norm_eps", "0", "a number from 1e-12"},
        BadValue{"rms_norm_eps", "-1e-5", "a number from"}, BadValue{"rms_norm_eps", "1e300", "to 0.1"},
        BadValue{"rms_norm_eps", "1e-300", "a number from"}, BadValue{"rms_norm_eps", "\"NaN\"", "a number from"},
        BadValue{"rope_theta", "0", "a number from 1"}, BadValue{"rope_theta", "-1", "a number from 1"},
        BadValue{"rope_theta", "1e300", "a number from 1"}, BadValue{"rope_theta", "true", "a number from 1"},
        BadValue{"rope_parameters", R"({"rope_type": "yarn"})", "rope_parameters.rope_type is 'yarn'"},
        BadValue{"rope_parameters", R"({"rope_theta": 0})", "rope_parameters.rope_theta is 0"},
        BadValue{"rope_parameters", "7", "must be an object"},
        BadValue{"rope_scaling", R"({"type": "longrope", "factor": 2})", "rope_scaling.type is 'longrope'; known are"},
        BadValue{"rope_scaling", R"({"rope_type": "proportional"})", "rope_scaling.rope_type is 'proportional'"},
        BadValue{"rope_scaling", R"({"type": "linear"})", "'linear', which needs rope_scaling.factor"},
        BadValue{"rope_scaling", R"({"type": "linear", "factor": 0})", "rope_scaling.factor is 0; it must be"},
        BadValue{"rope_scaling", R"({"type": "dynamic", "factor": "2"})", "rope_scaling.factor is"},
        BadValue{"rope_scaling", R"({"type": 7})", "rope_scaling.type is 7; it must be a string"},
        BadValue{"rope_scaling", R"({"rope_type": "llama3", "factor": 8})", "needs rope_scaling.low_freq_factor"},
        BadValue{"rope_scaling", R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4})",
                 "rope_scaling.high_freq_factor is 4; it must be above low_freq_factor"},
        BadValue{"rope_scaling", R"({"type": "yarn", "original_max_position_embeddings": 65536})", "must be at most"},
        BadValue{"rope_scaling", R"({"type": "yarn", "factor": 2, "attention_factor": -1})", "attention_factor is -1"},
        BadValue{"rope_scaling", R"({"type": "linear", "factor": 2, "partial_rotary_factor": 0.5})",
                 "partial_rotary_factor is 0.5"},
        BadValue{"tie_word_embeddings", "1", "must be true or false"}, BadValue{"bos_token_id", "32000", "to 31999"},
        BadValue{"eos_token_id", "-1", "from 0"}, BadValue{"eos_token_id", "[[2]]", "an integer"}));

TEST(HfConfig, TextThatIsNoConfiguration) {
  EXPECT_THAT(refusal(parse_hf_config("")), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal(parse_hf_config("[]")), HasSubstr("not a JSON object"));
  EXPECT_THAT(refusal(parse_hf_config("{\"rms_norm_eps\": NaN}")), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal(parse_hf_config("{\"rms_norm_eps\": 1e999}")), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal(parse_hf_config("{\"a\":1,\"a\":2}")), HasSubstr("key 'a' is given twice"));
  EXPECT_THAT(refusal(parse_hf_config("{\"a\":\"\xff\"}")), HasSubstr("UTF-8"));
  EXPECT_THAT(refusal(parse_hf_config("{\"a\":" + std::string(100, '[') + std::string(100, ']') + "}")),
              HasSubstr("nested deeper"));
  EXPECT_THAT(refusal(parse_hf_config(std::string_view("{}\0", 3))), HasSubstr("NUL"));
}

// No product of the largest sizes may overflow; the undefined-behaviour sanitizer watches this test.
TEST(HfConfig, TheLargestSizesDoNotOverflow) {
  json object = mixtral_8x7b();
  object["hidden_size"] = 1 << 18;
  object["intermediate_size"] = 1 << 20;
  object["num_hidden_layers"] = object["num_local_experts"] = object["num_experts_per_tok"] = 1024;
  object["num_attention_heads"] = object["num_key_value_heads"] = object["head_dim"] = 4096;
  object["vocab_size"] = 1 << 24;
  const ModelConfig config = parse(object);
  EXPECT_GT(config.num_parameters() * 4, config.num_parameters());
  EXPECT_EQ(config.num_parameters(), config.num_active_parameters());
}

TEST(HfConfig, EndTokensBeyondTheVocabularyAreLeftOut) {
  json object = mixtral_8x7b();
  object["eos_token_id"] = {2, 32000};
  std::vector<std::string> left_out;
  const auto config = parse_hf_config(object.dump(), &left_out);
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_THAT(config->eos_ids, ElementsAre(2));
  EXPECT_THAT(left_out, ElementsAre(HasSubstr("eos_token_id 32000 is beyond the vocabulary of 32000")));
  object["eos_token_id"] = 40000;
  EXPECT_THAT(parse(object).eos_ids, IsEmpty());
}

// max_position_embeddings, else max_seq_len, else a length that is only assumed.
TEST(NativeParams, TheContextIsWhatTheFileSays) {
  json object = native_params_json(tiny_config());
  EXPECT_EQ(parse_native_params(object.dump())->max_positions, 64);
  EXPECT_FALSE(parse_native_params(object.dump())->assumed_positions);
  object["max_position_embeddings"] = 65536;
  EXPECT_EQ(parse_native_params(object.dump())->max_positions, 65536);
  object.erase("max_seq_len");
  EXPECT_EQ(parse_native_params(object.dump())->max_positions, 65536);
  EXPECT_FALSE(parse_native_params(object.dump())->assumed_positions);
  object.erase("max_position_embeddings");
  EXPECT_TRUE(parse_native_params(object.dump())->assumed_positions);
  object["max_position_embeddings"] = 0;
  EXPECT_THAT(refusal(parse_native_params(object.dump())), HasSubstr("max_position_embeddings is 0"));
}

TEST(NativeParams, AbsentValuesHaveTheFormatsDefaults) {
  json object = native_params_json(tiny_config());
  object.erase("rope_theta");
  object.erase("max_seq_len");
  const auto config = parse_native_params(object.dump());
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->rope_theta, 1e6);
  EXPECT_EQ(config->max_positions, 32768);
  EXPECT_EQ(config->rope_pairs, RopePairs::kNeighbours);
  EXPECT_EQ(config->bos_id, 1);
  EXPECT_THAT(config->eos_ids, ElementsAre(2));
}

TEST(NativeParams, BadValuesAreNamed) {
  const json good = native_params_json(tiny_config());
  const auto message = [&](const char* pointer, const json& value) {
    json object = good;
    object[json::json_pointer(pointer)] = value;
    return refusal(parse_native_params(object.dump()));
  };
  EXPECT_THAT(message("/moe", nullptr), HasSubstr("moe is missing: not a mixture of experts"));
  EXPECT_THAT(message("/moe", 8), HasSubstr("moe is 8; it must be an object"));
  EXPECT_THAT(message("/moe/num_experts", 0), HasSubstr("moe.num_experts is 0"));
  EXPECT_THAT(message("/moe/num_experts_per_tok", 4), HasSubstr("num_experts_per_tok is 4; it must be at most"));
  EXPECT_THAT(message("/n_kv_heads", 3), HasSubstr("n_heads is 4; it must be a multiple of n_kv_heads"));
  EXPECT_THAT(message("/dim", nullptr), HasSubstr("dim is missing"));
  EXPECT_THAT(message("/vocab_size", -1), HasSubstr("vocab_size is -1"));
  EXPECT_THAT(message("/n_layers", 1e9), HasSubstr("n_layers is 1000000000.0"));
  EXPECT_THAT(message("/head_dim", 5), HasSubstr("head_dim is 5; it must be an even number"));
  EXPECT_THAT(message("/norm_eps", 0), HasSubstr("norm_eps is 0"));
}

}  // namespace
}  // namespace octet
