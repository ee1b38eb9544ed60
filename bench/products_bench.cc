#include "bench/products_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "bench/random_tensor.h"

namespace octet {
namespace {

constexpr int64_t kWeightBytes = int64_t{2} << 30;
constexpr int64_t kNumPartials = 8;

Tensor random_matrix(DType dtype, int64_t rows, int64_t columns, uint32_t seed) {
  const Tensor values = random_tensor({rows, columns}, seed);
  Tensor matrix = Tensor::host(dtype, {rows, columns});
  write_from_f32(values.view.as<float>(), rows * columns, dtype, static_cast<std::byte*>(matrix.view.data));
  return matrix;
}

MatrixSource source_of(const Tensor& matrix) {
  const int64_t columns = matrix.view.row_elements();
  return {static_cast<const std::byte*>(matrix.view.data), matrix.view.dtype, matrix.view.rows(), columns, columns, {}};
}

// Σ x[k] · row[k] in double.
double dot(const float* x, const MatrixSource& matrix, int64_t row) {
  std::vector<float> weights(static_cast<size_t>(matrix.num_columns));
  read_as_f32(matrix.row(row), matrix.dtype, matrix.num_columns, weights.data());
  double sum = 0;
  for (size_t k = 0; k < weights.size(); ++k) sum += double{x[k]} * double{weights[k]};
  return sum;
}

// Some outputs of three rows of `weight` against expected(row of x, output).
template <typename Expected>
Status check_product(CpuBackend& backend, const Weight& weight, const Expected& expected) {
  const Tensor x = random_tensor({3, weight.num_inputs}, 4);

  const Tensor y = Tensor::host(DType::kF32, {x.view.rows(), weight.num_outputs});
  HostStream stream;
  backend.gemm(x.view, weight, y.view, stream);
  double largest = 0;
  double error = 0;
  for (int64_t r = 0; r < x.view.rows(); ++r) {
    for (int64_t n = r; n < weight.num_outputs; n += 97) {
      const double value = expected(x.view.as<float>() + r * weight.num_inputs, n);
      largest = std::max(largest, std::abs(value));
      error = std::max(error, std::abs(value - double{y.view.as<float>()[r * weight.num_outputs + n]}));
    }
  }
  if (error <= 1e-5 * largest) return ok_status();
  return failed("a product of {} inputs is off by {} of {}", weight.num_inputs, error, largest);
}

}  // namespace

ProductsBench::ProductsBench(const KernelsBenchOptions& options, CpuBackend& backend)
    : options_(options),
      backend_(backend),
      w13_(random_matrix(options.weight_dtype, 2 * options.ffn, options.hidden, 1)),
      w2_(random_matrix(options.weight_dtype, options.hidden, options.ffn, 2)),
      w_(random_matrix(options.weight_dtype, options.hidden, options.hidden, 3)) {
  const int64_t layer_bytes = 3 * options.hidden * options.ffn * options.num_experts * dtype_size(options.weight_dtype);
  const int64_t num_layers = std::max((kWeightBytes + layer_bytes - 1) / layer_bytes, int64_t{1});
  for (int64_t layer = 0; layer < num_layers; ++layer) add_layer();
  // A dense weight is small: enough of them, too.
  const int64_t dense_bytes = options.hidden * options.hidden * dtype_size(options.weight_dtype);
  for (int64_t i = 0; i < kWeightBytes / dense_bytes; ++i) {
    dense_.push_back(backend.prepare({{source_of(w_)}, false, options.weight_dtype, {0, options.hidden}}));
  }
}

Status ProductsBench::check() {
  const MatrixSource w1 = source_of(w13_).slice_rows(0, options_.ffn);
  const MatrixSource w3 = source_of(w13_).slice_rows(options_.ffn, options_.ffn);
  OCTET_RETURN_IF_ERROR(
      check_product(backend_, dense_.front(), [&](const float* row, int64_t n) { return dot(row, source_of(w_), n); }));
  OCTET_RETURN_IF_ERROR(check_product(backend_, down_.front().front(),
                                      [&](const float* row, int64_t n) { return dot(row, source_of(w2_), n); }));
  return check_product(backend_, up_.front().front(), [&](const float* row, int64_t n) {
    const double gate = dot(row, w1, n);
    return gate / (1 + std::exp(-gate)) * dot(row, w3, n);
  });
}

void ProductsBench::run(KernelReport& report) {
  for (const int64_t tokens : options_.token_counts) run_dense(report, tokens);
  for (const int64_t tokens : options_.token_counts) run_experts(report, tokens);
}

void ProductsBench::add_layer() {
  const MatrixSource w13 = source_of(w13_);
  WeightSpec up{{w13.slice_rows(0, options_.ffn), w13.slice_rows(options_.ffn, options_.ffn)},
                true,
                options_.weight_dtype,
                {0, options_.hidden}};
  WeightSpec down{{source_of(w2_)}, false, options_.weight_dtype, {}};
  for (int64_t i = 0; i <= kNumPartials; ++i) down.partial_bounds.push_back(i * options_.ffn / kNumPartials);
  up_.emplace_back();
  down_.emplace_back();
  for (int64_t e = 0; e < options_.num_experts; ++e) {
    up_.back().push_back(backend_.prepare(up));
    down_.back().push_back(backend_.prepare(down));
  }
}

double ProductsBench::operations(int64_t rows, int64_t matrices) const {
  return 2.0 * static_cast<double>(rows * options_.hidden * options_.ffn * matrices);
}

double ProductsBench::bytes(int64_t experts, int64_t matrices) const {
  return static_cast<double>(experts * options_.hidden * options_.ffn * matrices * dtype_size(options_.weight_dtype));
}

void ProductsBench::run_dense(KernelReport& report, int64_t tokens) {
  const Tensor x = random_tensor({tokens, options_.hidden}, 6);
  const Tensor y = Tensor::host(DType::kF32, {tokens, options_.hidden});
  // As many products as read some 256 MB: a single one is too short to time.
  const auto weight_bytes = static_cast<double>(options_.hidden * options_.hidden * dtype_size(options_.weight_dtype));
  const auto calls = static_cast<size_t>(std::clamp(256e6 / weight_bytes / static_cast<double>(tokens), 1.0, 64.0));
  report.measure("dense", fmt::format("{} rows", tokens), [&] {
    for (size_t i = 0; i < calls; ++i) backend_.gemm(x.view, dense_[next_++ % dense_.size()], y.view, stream_);
    const double operations = 2.0 * static_cast<double>(tokens * options_.hidden * options_.hidden);
    return Work{weight_bytes * static_cast<double>(calls), operations * static_cast<double>(calls)};
  });
}

ExpertGroups ProductsBench::route(int64_t tokens, uint32_t seed) {
  std::mt19937 engine(seed);
  const int64_t top_k = options_.top_k;
  ids_ = Tensor::host(DType::kI32, {tokens, top_k});
  std::vector<int32_t> deck(static_cast<size_t>(options_.num_experts));
  std::iota(deck.begin(), deck.end(), 0);
  for (int64_t t = 0; t < tokens; ++t) {
    std::shuffle(deck.begin(), deck.end(), engine);
    std::copy_n(deck.begin(), top_k, ids_.view.as<int32_t>() + t * top_k);
  }
  local_ = Tensor::host(DType::kI32, {options_.num_experts});
  std::iota(local_.view.as<int32_t>(), local_.view.as<int32_t>() + options_.num_experts, 0);
  offsets_ = Tensor::host(DType::kI32, {options_.num_experts + 1});
  rows_ = Tensor::host(DType::kI32, {tokens * top_k});
  slots_ = Tensor::host(DType::kI32, {tokens, top_k});
  const ExpertGroups groups{offsets_.view, rows_.view, slots_.view};
  backend_.group_by_expert(ids_.view, local_.view, groups, stream_);
  return groups;
}

int64_t ProductsBench::distinct_experts() const {
  const int32_t* offsets = offsets_.view.as<int32_t>();
  int64_t count = 0;
  for (int64_t e = 0; e < options_.num_experts; ++e) count += offsets[e] < offsets[e + 1] ? 1 : 0;
  return count;
}

std::vector<Weight>& ProductsBench::next_layer(Layers& layers) {
  // Layer after layer, and when all have had their turn, from another expert on.
  std::vector<Weight>& layer = layers[next_++ % layers.size()];
  std::rotate(layer.begin(), layer.begin() + 1, layer.end());
  return layer;
}

void ProductsBench::run_experts(KernelReport& report, int64_t tokens) {
  const ExpertGroups groups = route(tokens, static_cast<uint32_t>(tokens));
  const int64_t rows = tokens * options_.top_k;
  const int64_t experts = distinct_experts();
  const Tensor x = random_tensor({tokens, options_.hidden}, 7);
  const Tensor hidden = random_tensor({rows, options_.ffn}, 8);
  const Tensor inner = Tensor::host(DType::kF32, {rows, options_.ffn});
  const Tensor y = Tensor::host(DType::kF32, {rows, options_.hidden});
  const std::string what = fmt::format("{} tokens, {} experts", tokens, experts);
  report.measure("up", what, [&] {
    backend_.grouped_gemm(x.view, groups, next_layer(up_), inner.view, stream_);
    return Work{bytes(experts, 2), operations(rows, 2)};
  });
  report.measure("down", what, [&] {
    backend_.grouped_gemm(hidden.view, groups.in_order(), next_layer(down_), y.view, stream_);
    return Work{bytes(experts, 1), operations(rows, 1)};
  });
}

}  // namespace octet
