// What a step of the model has to read, to compute and to send at the least, from its configuration.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "parallel/row_layout_choice.h"
#include "parallel/topology.h"
#include "runtime/checkpoint/model_config.h"

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

// The rows of one step in one dp group.
struct CostedRows {
  int64_t rows = 0;
  int64_t kept = 0;      // that go through the last layer's experts and the head
  double mean_keys = 0;  // that a row attends to
  double read_keys = 0;  // that are read from the cache, each once
};

CostedRows decode_rows(const ModelConfig& config, int64_t streams, double context);
// A chunk of a prompt, `begin` tokens before it; the prompt's last one keeps one row.
CostedRows prefill_rows(const ModelConfig& config, int64_t begin, int64_t rows, bool last);

// Bytes of an element.
struct ElementBytes {
  double weight = 2;
  double kv = 2;
  int64_t exchange = 2;  // of what experts take and give; partial sums are fp32
};

// One kind of work in a step, all of its calls together, on the rank that has the most of it.
struct KernelCost {
  std::string_view name;  // "experts"
  int64_t calls = 0;
  double bytes = 0;
  double operations = 0;
  double sent_bytes = 0;  // to other ranks
  int64_t messages = 0;   // rounds in which a rank waits for others
};

// What one rank does in a step, in the order of a layer. Routing is uniform; a rank that holds experts reads one of
// them at the least, for somebody's rank does. Work that only touches a row's activations is left out: it is not the
// weights' order of magnitude, and fusing decides what it costs.
std::vector<KernelCost> step_kernels(const ModelConfig& config, const Topology& topology, RowLayoutKind layout,
                                     const CostedRows& step, const ElementBytes& element);

}  // namespace octet
