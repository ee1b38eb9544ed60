#include "bench/step_cost.h"

#include <algorithm>
#include <cmath>

namespace octet {
namespace {

double number(int64_t value) { return static_cast<double>(value); }

double attention_weights(const ModelConfig& c) { return number(2 * c.hidden_size * (c.query_size() + c.kv_size())); }
double expert_weights(const ModelConfig& c) { return number(3 * c.hidden_size * c.intermediate_size); }
double head_weights(const ModelConfig& c) { return number(c.vocab_size * c.hidden_size); }

// Scores and the weighted sum of values, of one row against `context` keys, in all layers.
double attention_operations(const ModelConfig& c, double context) {
  return 4 * context * number(c.query_size() * c.num_layers);
}

double kv_bytes_per_token(const ModelConfig& c, double kv_bytes) {
  return 2 * kv_bytes * number(c.kv_size() * c.num_layers);
}

// Keys that a row sees.
double seen(const ModelConfig& c, double context) {
  return c.sliding_window > 0 ? std::min(context, number(c.sliding_window)) : context;
}

}  // namespace

double expected_distinct_experts(const ModelConfig& config, int64_t rows) {
  const double share = number(config.experts_per_token) / number(config.num_experts);
  return number(config.num_experts) * (1 - std::pow(1 - share, number(rows)));
}

StepCost decode_cost(const ModelConfig& c, int64_t streams, double context, double weight_bytes, double kv_bytes) {
  const double router = number(c.num_experts * c.hidden_size);
  const double keys = seen(c, context + 1);
  StepCost cost;
  cost.distinct_experts = expected_distinct_experts(c, streams);
  const double layer_read = attention_weights(c) + router + cost.distinct_experts * expert_weights(c);
  cost.bytes = weight_bytes * (number(c.num_layers) * layer_read + head_weights(c) + number(streams * c.hidden_size)) +
               number(streams) * keys * kv_bytes_per_token(c, kv_bytes);
  const double row =
      number(c.num_layers) * (attention_weights(c) + router + number(c.experts_per_token) * expert_weights(c)) +
      head_weights(c);
  cost.operations = number(streams) * (2 * row + attention_operations(c, keys));
  return cost;
}

StepCost prefill_cost(const ModelConfig& c, int64_t tokens, int64_t chunk, double weight_bytes, double kv_bytes) {
  const double router = number(c.num_experts * c.hidden_size);
  const double row_experts = router + number(c.experts_per_token) * expert_weights(c);
  StepCost cost;
  for (int64_t begin = 0; begin < tokens; begin += chunk) {
    const int64_t rows = std::min(chunk, tokens - begin);
    const bool last = begin + rows == tokens;
    const double mean_keys = seen(c, number(begin) + number(rows + 1) / 2);
    const double experts = expected_distinct_experts(c, rows);
    cost.distinct_experts = std::max(cost.distinct_experts, experts);
    const double read = number(c.num_layers) * attention_weights(c) +
                        number(c.num_layers - 1) * (router + experts * expert_weights(c)) +
                        (last ? row_experts + head_weights(c) : 0);
    cost.bytes += weight_bytes * (read + number(rows * c.hidden_size)) +
                  seen(c, number(begin + rows)) * kv_bytes_per_token(c, kv_bytes);
    cost.operations +=
        number(rows) * (2 * (number(c.num_layers) * attention_weights(c) + number(c.num_layers - 1) * row_experts) +
                        attention_operations(c, mean_keys));
    if (last) cost.operations += 2 * (row_experts + head_weights(c));
  }
  return cost;
}

}  // namespace octet
