// What a step of the model has to read and to compute at the least, from its configuration.
#pragma once

#include <cstdint>

#include "runtime/model/model_config.h"

namespace octet {

struct StepCost {
  double bytes = 0;             // weights once each, the rows of the embedding, keys and values
  double operations = 0;        // of the matrix products and of attention; a multiply-add counts as two
  double distinct_experts = 0;  // of a layer, whose weights are read
};

// Experts of a layer that `rows` tokens touch: E (1 - (1 - k/E)^rows), the expectation where each token's k of E
// experts are chosen uniformly.
double expected_distinct_experts(const ModelConfig& config, int64_t rows);

// One token of each of `streams` sequences, `context` tokens before it.
StepCost decode_cost(const ModelConfig& config, int64_t streams, double context, double weight_bytes, double kv_bytes);

// A prompt of `tokens` in chunks of `chunk`; the last layer's experts and the head see one row.
StepCost prefill_cost(const ModelConfig& config, int64_t tokens, int64_t chunk, double weight_bytes, double kv_bytes);

}  // namespace octet
