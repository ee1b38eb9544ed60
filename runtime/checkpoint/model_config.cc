#include "runtime/checkpoint/model_config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "runtime/base/json_text.h"
#include "runtime/base/quote.h"

namespace octet {
namespace {

using nlohmann::json;

// Bounds far above any model, chosen so that no product of sizes (bytes of all parameters, rows of a fused tensor) can
// overflow 63 bits and that row numbers and token ids fit in 32.
constexpr int64_t kMaxHidden = int64_t{1} << 18;
constexpr int64_t kMaxIntermediate = int64_t{1} << 20;
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxHeads = 4096;
constexpr int64_t kMaxHeadDim = 4096;
constexpr int64_t kMaxVocab = int64_t{1} << 24;
constexpr int64_t kMaxExperts = 1024;
// RoPE computes angles in fp32, which holds every position up to here exactly.
constexpr int64_t kMaxPositions = int64_t{1} << 24;

// Mixtral's own, whose params.json does not say it.
constexpr int64_t kAssumedPositions = 32768;
constexpr double kDefaultTheta = 1e6;
constexpr double kMaxTheta = 1e15;
constexpr double kMinEps = 1e-12;
constexpr double kMaxEps = 0.1;

// What a file format calls the sizes.
struct SizeKeys {
  const char* hidden;
  const char* intermediate;
  const char* layers;
  const char* heads;
  const char* kv_heads;
  const char* head_dim;
  const char* experts;
  const char* top_k;
  const char* eps;
};

constexpr SizeKeys kHfKeys = {"hidden_size",         "intermediate_size",   "num_hidden_layers",
                              "num_attention_heads", "num_key_value_heads", "head_dim",
                              "num_local_experts",   "num_experts_per_tok", "rms_norm_eps"};
constexpr SizeKeys kNativeKeys = {"dim",         "hidden_dim",          "n_layers", "n_heads", "n_kv_heads", "head_dim",
                                  "num_experts", "num_experts_per_tok", "norm_eps"};

void read_sizes(const SizeKeys& keys, JsonFields& fields, ModelConfig& config) {
  config.hidden_size = fields.integer(keys.hidden, 1, kMaxHidden);
  config.intermediate_size = fields.integer(keys.intermediate, 1, kMaxIntermediate);
  config.num_layers = fields.integer(keys.layers, 1, kMaxLayers);
  config.num_heads = fields.integer(keys.heads, 1, kMaxHeads);
  config.num_kv_heads = fields.integer(keys.kv_heads, 1, kMaxHeads);
  config.head_dim = fields.integer_or(keys.head_dim, 0, 2, kMaxHeadDim);
  config.vocab_size = fields.integer("vocab_size", 1, kMaxVocab);
  config.rms_norm_eps = static_cast<float>(fields.number_or(keys.eps, 1e-5, kMinEps, kMaxEps));
  config.sliding_window = fields.integer_or("sliding_window", 0, 1, kMaxPositions);
}

void read_experts(const SizeKeys& keys, JsonFields& fields, ModelConfig& config) {
  config.num_experts = fields.integer(keys.experts, 1, kMaxExperts);
  config.experts_per_token = fields.integer(keys.top_k, 1, kMaxExperts);
}

// What sizes owe each other; fills in an absent head_dim.
Status check_consistent(const SizeKeys& keys, ModelConfig& config) {
  if (config.num_heads % config.num_kv_heads != 0) {
    return invalid_input("{} is {}; it must be a multiple of {}, which is {}", keys.heads, config.num_heads,
                         keys.kv_heads, config.num_kv_heads);
  }
  if (config.head_dim == 0) {
    if (config.hidden_size % config.num_heads != 0) {
      return invalid_input("{} is {}; without {} it must be a multiple of {}, which is {}", keys.hidden,
                           config.hidden_size, keys.head_dim, keys.heads, config.num_heads);
    }
    config.head_dim = config.hidden_size / config.num_heads;
  }
  if (config.head_dim % 2 != 0 || config.head_dim > kMaxHeadDim) {
    return invalid_input("{} is {}; it must be an even number from 2 to {}", keys.head_dim, config.head_dim,
                         kMaxHeadDim);
  }
  if (config.experts_per_token > config.num_experts) {
    return invalid_input("{} is {}; it must be at most {}, which is {}", keys.top_k, config.experts_per_token,
                         keys.experts, config.num_experts);
  }
  return ok_status();
}

Status check_is_mixtral(const json& object, JsonFields& fields) {
  const std::string model_type = fields.string_or("model_type", "");
  OCTET_RETURN_IF_ERROR(fields.status());
  if (model_type != "mixtral") {
    return invalid_input("model_type is {}; it must be 'mixtral'", quote(model_type));
  }
  if (fields.has("architectures")) {
    const json& architectures = object["architectures"];
    const bool listed =
        architectures.is_array() && std::ranges::find(architectures, json("MixtralForCausalLM")) != architectures.end();
    if (!listed) return invalid_input("architectures must list MixtralForCausalLM");
  }
  const std::string activation = fields.string_or("hidden_act", "silu");
  OCTET_RETURN_IF_ERROR(fields.status());
  if (activation != "silu") return invalid_input("hidden_act is {}; it must be 'silu'", quote(activation));
  if (fields.has("quantization_config")) {
    return invalid_input("quantization_config: weights must be stored as BF16, F16 or F32");
  }
  return ok_status();
}

// rope_theta stands at the top level or in rope_parameters, as newer files write it; scaling in rope_scaling or there.
Status read_rope(JsonFields& fields, ModelConfig& config) {
  config.rope_theta = fields.number_or("rope_theta", kDefaultTheta, 1, kMaxTheta);
  const RopeDefaults defaults{config.max_positions,
                              fields.integer_or("original_max_position_embeddings", 0, 1, kMaxPositions)};
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const json* object = fields.object(key);
    OCTET_RETURN_IF_ERROR(fields.status());
    if (object == nullptr) continue;
    OCTET_ASSIGN_OR_RETURN(const RopeScaling scaling, parse_rope_scaling(key, *object, defaults));
    if (scaling.kind != RopeKind::kDefault) config.rope_scaling = scaling;
    JsonFields rope(*object, std::string(key) + ".");
    config.rope_theta = rope.number_or("rope_theta", config.rope_theta, 1, kMaxTheta);
    OCTET_RETURN_IF_ERROR(rope.status());
  }
  return ok_status();
}

// What scaling asks of the sizes, and the context that it gives.
Status finish_rope(ModelConfig& config) {
  const RopeScaling& scaling = config.rope_scaling;
  if (scaling.kind == RopeKind::kDynamic && config.head_dim == 2) {
    return invalid_input("head_dim is 2; dynamic RoPE scaling needs more");
  }
  if (scaling.kind == RopeKind::kYarn && config.rope_theta <= 1) {
    return invalid_input("rope_theta is {}; yarn needs more than 1", config.rope_theta);
  }
  config.assumed_positions = config.assumed_positions || scaling.original_is_assumed;
  if (scaling.kind == RopeKind::kDynamic) {
    const double positions = static_cast<double>(config.max_positions) * scaling.factor;
    config.max_positions = static_cast<int64_t>(std::min(positions, static_cast<double>(kMaxPositions)));
  }
  return ok_status();
}

int64_t count_parameters(const ModelConfig& config, int64_t experts_per_layer) {
  const int64_t attention = 2 * config.hidden_size * (config.query_size() + config.kv_size());
  const int64_t expert = 3 * config.hidden_size * config.intermediate_size;
  const int64_t norms_and_router = (2 + config.num_experts) * config.hidden_size;
  const int64_t vocabularies = config.tie_embeddings ? 1 : 2;
  return vocabularies * config.vocab_size * config.hidden_size + config.hidden_size +
         config.num_layers * (attention + norms_and_router + experts_per_layer * expert);
}

}  // namespace

int64_t ModelConfig::num_parameters() const { return count_parameters(*this, num_experts); }

int64_t ModelConfig::num_active_parameters() const { return count_parameters(*this, experts_per_token); }

Result<ModelConfig> parse_hf_config(std::string_view text, std::vector<std::string>* left_out) {
  OCTET_ASSIGN_OR_RETURN(const json object, parse_json_object(text));
  JsonFields fields(object);
  OCTET_RETURN_IF_ERROR(check_is_mixtral(object, fields));
  ModelConfig config;
  read_sizes(kHfKeys, fields, config);
  read_experts(kHfKeys, fields, config);
  config.max_positions = fields.integer("max_position_embeddings", 1, kMaxPositions);
  OCTET_RETURN_IF_ERROR(fields.status());
  OCTET_RETURN_IF_ERROR(read_rope(fields, config));
  config.tie_embeddings = fields.boolean_or("tie_word_embeddings", false);
  config.bos_id = static_cast<TokenId>(fields.integer_or("bos_token_id", 1, 0, config.vocab_size - 1));
  std::vector<std::string> dropped;
  config.eos_ids = fields.end_token_ids("eos_token_id", config.vocab_size, dropped).value_or(std::vector<TokenId>());
  OCTET_RETURN_IF_ERROR(fields.status());
  if (left_out != nullptr) left_out->insert(left_out->end(), dropped.begin(), dropped.end());
  OCTET_RETURN_IF_ERROR(check_consistent(kHfKeys, config));
  OCTET_RETURN_IF_ERROR(finish_rope(config));
  return config;
}

Result<ModelConfig> parse_native_params(std::string_view text) {
  OCTET_ASSIGN_OR_RETURN(const json object, parse_json_object(text));
  JsonFields fields(object);
  const json* moe = fields.object("moe");
  OCTET_RETURN_IF_ERROR(fields.status());
  if (moe == nullptr) return invalid_input("moe is missing: not a mixture of experts");
  ModelConfig config;
  config.rope_pairs = RopePairs::kNeighbours;
  read_sizes(kNativeKeys, fields, config);
  // Files of today name it like Hugging Face's, older ones max_seq_len, most not at all.
  config.max_positions = fields.integer_or("max_position_embeddings", 0, 1, kMaxPositions);
  if (config.max_positions == 0) config.max_positions = fields.integer_or("max_seq_len", 0, 1, kMaxPositions);
  config.assumed_positions = config.max_positions == 0;
  if (config.assumed_positions) config.max_positions = kAssumedPositions;
  OCTET_RETURN_IF_ERROR(fields.status());
  OCTET_RETURN_IF_ERROR(read_rope(fields, config));
  if (fields.has("yarn")) return invalid_input("yarn: its scaling of RoPE is read from a config.json only");
  config.tie_embeddings = fields.boolean_or("tied_embeddings", false);
  config.eos_ids = {2};
  OCTET_RETURN_IF_ERROR(fields.status());
  JsonFields moe_fields(*moe, "moe.");
  read_experts(kNativeKeys, moe_fields, config);
  OCTET_RETURN_IF_ERROR(moe_fields.status());
  OCTET_RETURN_IF_ERROR(check_consistent(kNativeKeys, config));
  OCTET_RETURN_IF_ERROR(finish_rope(config));
  return config;
}

}  // namespace octet
