// What a Mixtral checkpoint says about its own architecture (config.json or params.json).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/base/tensor.h"
#include "runtime/checkpoint/rope_scaling.h"

namespace octet {

// Which two elements of a head RoPE rotates together in the file's q and k rows.
enum class RopePairs {
  kHalves,      // (i, i + head_dim / 2), Hugging Face
  kNeighbours,  // (2i, 2i + 1), Mistral-native; q and k rows are permuted to halves when loaded
};

struct ModelConfig {
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;  // ffn dimension of one expert
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t vocab_size = 0;
  int64_t num_experts = 0;
  int64_t experts_per_token = 0;   // top_k
  int64_t max_positions = 0;       // context length in tokens
  bool assumed_positions = false;  // the file leaves it open: it may be more
  int64_t sliding_window = 0;      // 0: none
  double rope_theta = 0;
  RopeScaling rope_scaling;
  float rms_norm_eps = 0;
  bool tie_embeddings = false;  // the LM head is the embedding table
  RopePairs rope_pairs = RopePairs::kHalves;
  TokenId bos_id = 1;
  std::vector<TokenId> eos_ids;

  int64_t query_size() const { return num_heads * head_dim; }
  int64_t kv_size() const { return num_kv_heads * head_dim; }
  // Parameters of the whole model, and those a token touches.
  int64_t num_parameters() const;
  int64_t num_active_parameters() const;
};

// Parse and validate untrusted text; the error names the key, its value and its bound (the caller adds the path).
// `left_out`, where it is given, gets a line for each end token that is beyond the vocabulary and was left out.
Result<ModelConfig> parse_hf_config(std::string_view json, std::vector<std::string>* left_out = nullptr);
Result<ModelConfig> parse_native_params(std::string_view json);

}  // namespace octet
