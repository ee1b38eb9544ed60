// Small checkpoints with seeded random weights, in memory first, so that a test can change or damage anything before it
// writes them.
#pragma once

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/float16.h"
#include "runtime/checkpoint/model_config.h"
#include "runtime/checkpoint/safetensors_writer.h"
#include "tests/base/temp_folder.h"

namespace octet {

struct TestTensor {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;

  void set(int64_t element, float value) {
    std::byte* place = bytes.data() + element * dtype_size(dtype);
    const uint16_t half = dtype == DType::kBF16 ? f32_to_bf16(value) : f32_to_f16(value);
    std::memcpy(place, dtype == DType::kF32 ? static_cast<const void*>(&value) : &half, dtype_size(dtype));
  }
};

// What a checkpoint folder will hold.
struct TestCheckpoint {
  nlohmann::json config;      // config.json, or params.json where native
  nlohmann::json generation;  // generation_config.json; null: no such file
  std::map<std::string, TestTensor> tensors;
  bool native = false;
  int num_shards = 1;  // more than one: shards and an index (Hugging Face only)

  void write(const std::filesystem::path& folder) const;
};

enum class TestLayout { kPerExpert, kFused, kNative };

// The smallest model in which no two sizes are equal.
inline ModelConfig tiny_config() {
  ModelConfig config;
  config.hidden_size = 12;
  config.intermediate_size = 10;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 4;
  config.vocab_size = 17;
  config.num_experts = 3;
  config.experts_per_token = 2;
  config.max_positions = 64;
  config.rope_theta = 1e6;
  config.rms_norm_eps = 1e-5F;
  config.eos_ids = {2};
  return config;
}

inline TestTensor random_tensor(std::vector<int64_t> shape, DType dtype, std::mt19937& generator) {
  TestTensor tensor = {dtype, std::move(shape), {}};
  int64_t num_elements = 1;
  for (const int64_t extent : tensor.shape) num_elements *= extent;
  tensor.bytes.resize(static_cast<size_t>(num_elements * dtype_size(dtype)));
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < num_elements; ++i) tensor.set(i, normal(generator));
  return tensor;
}

inline nlohmann::json hf_config_json(const ModelConfig& config) {
  nlohmann::json json = {{"model_type", "mixtral"},
                         {"architectures", {"MixtralForCausalLM"}},
                         {"hidden_act", "silu"},
                         {"hidden_size", config.hidden_size},
                         {"intermediate_size", config.intermediate_size},
                         {"num_hidden_layers", config.num_layers},
                         {"num_attention_heads", config.num_heads},
                         {"num_key_value_heads", config.num_kv_heads},
                         {"head_dim", config.head_dim},
                         {"vocab_size", config.vocab_size},
                         {"num_local_experts", config.num_experts},
                         {"num_experts_per_tok", config.experts_per_token},
                         {"max_position_embeddings", config.max_positions},
                         {"rope_theta", config.rope_theta},
                         {"rms_norm_eps", config.rms_norm_eps},
                         {"tie_word_embeddings", config.tie_embeddings},
                         {"bos_token_id", config.bos_id},
                         {"eos_token_id", config.eos_ids}};
  if (config.sliding_window > 0) json["sliding_window"] = config.sliding_window;
  return json;
}

inline nlohmann::json native_params_json(const ModelConfig& config) {
  return {{"dim", config.hidden_size},
          {"n_layers", config.num_layers},
          {"head_dim", config.head_dim},
          {"hidden_dim", config.intermediate_size},
          {"n_heads", config.num_heads},
          {"n_kv_heads", config.num_kv_heads},
          {"norm_eps", config.rms_norm_eps},
          {"rope_theta", config.rope_theta},
          {"max_seq_len", config.max_positions},
          {"vocab_size", config.vocab_size},
          {"moe", {{"num_experts_per_tok", config.experts_per_token}, {"num_experts", config.num_experts}}}};
}

// Shape of every tensor of a layout, by name.
inline std::map<std::string, std::vector<int64_t>> tensor_shapes(const ModelConfig& config, TestLayout layout) {
  const bool native = layout == TestLayout::kNative;
  const int64_t hidden = config.hidden_size;
  const int64_t ffn = config.intermediate_size;
  std::map<std::string, std::vector<int64_t>> shapes;
  shapes[native ? "tok_embeddings.weight" : "model.embed_tokens.weight"] = {config.vocab_size, hidden};
  shapes[native ? "norm.weight" : "model.norm.weight"] = {hidden};
  if (!config.tie_embeddings) shapes[native ? "output.weight" : "lm_head.weight"] = {config.vocab_size, hidden};
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    const std::string prefix = (native ? "layers." : "model.layers.") + std::to_string(layer) + ".";
    shapes[prefix + (native ? "attention_norm.weight" : "input_layernorm.weight")] = {hidden};
    shapes[prefix + (native ? "ffn_norm.weight" : "post_attention_layernorm.weight")] = {hidden};
    shapes[prefix + (native ? "attention.wq.weight" : "self_attn.q_proj.weight")] = {config.query_size(), hidden};
    shapes[prefix + (native ? "attention.wk.weight" : "self_attn.k_proj.weight")] = {config.kv_size(), hidden};
    shapes[prefix + (native ? "attention.wv.weight" : "self_attn.v_proj.weight")] = {config.kv_size(), hidden};
    shapes[prefix + (native ? "attention.wo.weight" : "self_attn.o_proj.weight")] = {hidden, config.query_size()};
    const std::string moe = prefix + (native                         ? "feed_forward."
                                      : layout == TestLayout::kFused ? "mlp."
                                                                     : "block_sparse_moe.");
    shapes[moe + "gate.weight"] = {config.num_experts, hidden};
    if (layout == TestLayout::kFused) {
      shapes[moe + "experts.gate_up_proj"] = {config.num_experts, 2 * ffn, hidden};
      shapes[moe + "experts.down_proj"] = {config.num_experts, hidden, ffn};
      continue;
    }
    for (int64_t e = 0; e < config.num_experts; ++e) {
      const std::string expert = moe + "experts." + std::to_string(e) + ".";
      shapes[expert + "w1.weight"] = shapes[expert + "w3.weight"] = {ffn, hidden};
      shapes[expert + "w2.weight"] = {hidden, ffn};
    }
  }
  return shapes;
}

inline TestCheckpoint make_checkpoint(const ModelConfig& config = tiny_config(),
                                      TestLayout layout = TestLayout::kPerExpert, DType dtype = DType::kBF16,
                                      uint32_t seed = 1) {
  TestCheckpoint checkpoint;
  checkpoint.native = layout == TestLayout::kNative;
  checkpoint.config = checkpoint.native ? native_params_json(config) : hf_config_json(config);
  std::mt19937 generator(seed);
  for (const auto& [name, shape] : tensor_shapes(config, layout)) {
    checkpoint.tensors[name] = random_tensor(shape, dtype, generator);
  }
  return checkpoint;
}

inline void write_tensors(const std::filesystem::path& path, const std::map<std::string, TestTensor>& tensors) {
  std::vector<TensorDeclaration> declarations;
  for (const auto& [name, tensor] : tensors) declarations.push_back({name, tensor.dtype, tensor.shape});
  auto writer = SafetensorsWriter::create(path, declarations);
  OCTET_CHECK(writer.ok(), "{}", writer.status().message());
  for (const auto& [name, tensor] : tensors) OCTET_CHECK(writer->append(tensor.bytes).ok(), "{}", name);
  OCTET_CHECK(writer->finish().ok(), "{}", path.string());
}

inline void TestCheckpoint::write(const std::filesystem::path& folder) const {
  write_file(folder / (native ? "params.json" : "config.json"), config.dump());
  if (!generation.is_null()) write_file(folder / "generation_config.json", generation.dump());
  if (num_shards == 1) {
    write_tensors(folder / (native ? "consolidated.safetensors" : "model.safetensors"), tensors);
    return;
  }
  std::vector<std::map<std::string, TestTensor>> shards(static_cast<size_t>(num_shards));
  nlohmann::json weight_map;
  size_t next = 0;
  for (const auto& [name, tensor] : tensors) {
    const size_t shard = next++ % shards.size();
    shards[shard][name] = tensor;
    weight_map[name] = fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, num_shards);
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    write_tensors(folder / fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, num_shards), shards[i]);
  }
  const nlohmann::json index = {{"metadata", nlohmann::json::object()}, {"weight_map", weight_map}};
  write_file(folder / "model.safetensors.index.json", index.dump());
}

}  // namespace octet
