#include "bench/step_cost.h"

#include <algorithm>
#include <cmath>

namespace octet {
namespace {

double number(int64_t value) { return static_cast<double>(value); }

// Keys that a row sees.
double seen(const ModelConfig& c, double context) {
  return c.sliding_window > 0 ? std::min(context, number(c.sliding_window)) : context;
}

// E (1 - (1 - k/E)^rows), of any number of rows.
double distinct_experts(const ModelConfig& c, double rows) {
  const double share = number(c.experts_per_token) / number(c.num_experts);
  return number(c.num_experts) * (1 - std::pow(1 - share, rows));
}

// The kernels of one step, put together piece by piece.
class StepKernels {
 public:
  StepKernels(const ModelConfig& config, const Topology& topology, RowLayoutKind layout, const CostedRows& step,
              const ElementBytes& element)
      : c_(config),
        t_(topology),
        layout_(layout),
        step_(step),
        element_(element),
        sent_(row_layout_cost(layout, topology, config.num_experts, config.experts_per_token, config.hidden_size,
                              element.exchange)) {}

  std::vector<KernelCost> take() {
    const double hidden = number(c_.hidden_size);
    const double rows = number(step_.rows);
    add({"embedding", 1, element_.weight * rows * hidden, 0, 0, 0});
    attention();
    experts(c_.num_layers - 1, rows);
    experts(1, number(step_.kept));
    const double head = number(c_.vocab_size) * hidden / t_.tp;
    if (step_.kept > 0) add({"head", 1, element_.weight * head, 2 * number(step_.kept) * head, 0, 0});
    return std::move(kernels_);
  }

 private:
  // Work of a name that is there already is added to it.
  void add(const KernelCost& cost) {
    const auto same = std::ranges::find(kernels_, cost.name, &KernelCost::name);
    if (same == kernels_.end()) return kernels_.push_back(cost);
    same->calls += cost.calls;
    same->bytes += cost.bytes;
    same->operations += cost.operations;
    same->sent_bytes += cost.sent_bytes;
    same->messages += cost.messages;
  }

  void product(std::string_view name, int64_t layers, double rows, double weights) {
    add({name, layers, number(layers) * element_.weight * weights, number(layers) * 2 * rows * weights, 0, 0});
  }

  void attention() {
    const double rows = number(step_.rows);
    const double query = number(c_.query_size()) / t_.tp;
    const double kv = number(c_.kv_size()) / t_.tp;
    const double layers = number(c_.num_layers);
    product("qkv", c_.num_layers, rows, number(c_.hidden_size) * (query + 2 * kv));
    add({"attention", c_.num_layers, layers * 2 * element_.kv * step_.read_keys * kv,
         layers * 4 * rows * step_.mean_keys * query, 0, 0});
    product("output", c_.num_layers, rows, number(c_.hidden_size) * query);
    if (t_.tp == 1) return;
    add({"gather and reduce", 2 * c_.num_layers, 0, 0, layers * rows * sent_.attention_bytes, 2 * c_.num_layers});
  }

  void experts(int64_t layers, double rows) {
    if (rows == 0 || layers == 0) return;
    const double here = std::ceil(number(c_.num_experts) / t_.ep);  // experts of the rank that has the most
    const double group_rows = rows * t_.dp / t_.replicas;           // rows that an expert group computes
    const double touched = std::max(1.0, here / number(c_.num_experts) * distinct_experts(c_, group_rows));
    const double assignments = group_rows * number(c_.experts_per_token) * here / number(c_.num_experts);
    const double expert = 3 * number(c_.hidden_size * c_.intermediate_size) / t_.etp;
    const double own_rows = layout_ == RowLayoutKind::kSliced ? rows / t_.tp : rows;
    product("router", layers, own_rows, number(c_.num_experts * c_.hidden_size));
    add({"experts", 2 * layers, number(layers) * element_.weight * touched * expert,
         number(layers) * 2 * assignments * expert, 0, 0});
    exchange(layers, rows);
  }

  void exchange(int64_t layers, double rows) {
    const int64_t messages = sent_.num_messages - (t_.tp > 1 ? 2 : 0);
    if (messages == 0) return;
    const double bytes = sent_.dispatch_bytes + sent_.expert_reduce_bytes + sent_.combine_bytes;
    add({"exchange", layers * messages, 0, 0, number(layers) * rows * bytes, layers * messages});
  }

  const ModelConfig& c_;
  const Topology& t_;
  const RowLayoutKind layout_;
  const CostedRows& step_;
  const ElementBytes& element_;
  const RowLayoutCost sent_;  // a row and layer
  std::vector<KernelCost> kernels_;
};

// Of one rank alone.
void add_step(const ModelConfig& config, const CostedRows& step, const ElementBytes& element, StepCost& cost) {
  for (const KernelCost& kernel : step_kernels(config, Topology(), RowLayoutKind::kReplicated, step, element)) {
    cost.bytes += kernel.bytes;
    cost.operations += kernel.operations;
  }
  cost.distinct_experts = std::max(cost.distinct_experts, expected_distinct_experts(config, step.rows));
}

}  // namespace

double expected_distinct_experts(const ModelConfig& config, int64_t rows) {
  return distinct_experts(config, number(rows));
}

CostedRows decode_rows(const ModelConfig& config, int64_t streams, double context) {
  const double keys = seen(config, context + 1);
  return {streams, streams, keys, number(streams) * keys};
}

CostedRows prefill_rows(const ModelConfig& config, int64_t begin, int64_t rows, bool last) {
  return {rows, last ? 1 : 0, seen(config, number(begin) + number(rows + 1) / 2), seen(config, number(begin + rows))};
}

std::vector<KernelCost> step_kernels(const ModelConfig& config, const Topology& topology, RowLayoutKind layout,
                                     const CostedRows& step, const ElementBytes& element) {
  return StepKernels(config, topology, layout, step, element).take();
}

StepCost decode_cost(const ModelConfig& config, int64_t streams, double context, double weight_bytes, double kv_bytes) {
  StepCost cost;
  add_step(config, decode_rows(config, streams, context), {.weight = weight_bytes, .kv = kv_bytes}, cost);
  return cost;
}

StepCost prefill_cost(const ModelConfig& config, int64_t tokens, int64_t chunk, double weight_bytes, double kv_bytes) {
  StepCost cost;
  for (int64_t begin = 0; begin < tokens; begin += chunk) {
    const int64_t rows = std::min(chunk, tokens - begin);
    const CostedRows step = prefill_rows(config, begin, rows, begin + rows == tokens);
    add_step(config, step, {.weight = weight_bytes, .kv = kv_bytes}, cost);
  }
  return cost;
}

}  // namespace octet
