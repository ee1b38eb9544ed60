// The configuration that figures are worked out for by hand.
#pragma once

#include "runtime/checkpoint/model_config.h"

namespace octet {

// Mixtral 8x7B, of so many layers.
inline ModelConfig mixtral_config(int64_t num_layers) {
  ModelConfig config;
  config.hidden_size = 4096;
  config.intermediate_size = 14336;
  config.num_layers = num_layers;
  config.num_heads = 32;
  config.num_kv_heads = 8;
  config.head_dim = 128;
  config.vocab_size = 32000;
  config.num_experts = 8;
  config.experts_per_token = 2;
  return config;
}

}  // namespace octet
