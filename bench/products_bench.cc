#include "bench/products_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "bench/device_tensor.h"
#include "bench/random_tensor.h"

namespace octet {
namespace {

constexpr int64_t kNumPartials = 8;
// Sums in another order than the plain loop's; of the largest output looked at.
constexpr double kSumTolerance = 1e-5;

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
  read_as_f32(matrix.row(row), matrix.format.dtype(), matrix.num_columns, weights.data());
  double sum = 0;
  for (size_t k = 0; k < weights.size(); ++k) sum += double{x[k]} * double{weights[k]};
  return sum;
}

// Results that pass through 16 bits, silu(a) · b twice.
double rounding_tolerance(DType dtype) { return 3 * (dtype == DType::kF16 ? 0x1p-12 : 0x1p-9); }

}  // namespace

ProductsBench::ProductsBench(const KernelsBenchOptions& options, Backend& backend, Stream& stream)
    : options_(options),
      backend_(backend),
      stream_(stream),
      w13_(random_matrix(options.weight_dtype, 2 * options.ffn, options.hidden, 1)),
      w2_(random_matrix(options.weight_dtype, options.hidden, options.ffn, 2)),
      w_(random_matrix(options.weight_dtype, options.hidden, options.hidden, 3)) {
  const int64_t weight_bytes = options.weight_megabytes << 20;
  const int64_t layer_bytes = 3 * options.hidden * options.ffn * options.num_experts * dtype_size(options.weight_dtype);
  const int64_t num_layers = std::max((weight_bytes + layer_bytes - 1) / layer_bytes, int64_t{1});
  for (int64_t layer = 0; layer < num_layers; ++layer) add_layer();
  // A dense weight is small: enough of them, too.
  const int64_t dense_bytes = options.hidden * options.hidden * dtype_size(options.weight_dtype);
  for (int64_t i = 0; i < std::max<int64_t>(1, weight_bytes / dense_bytes); ++i) {
    dense_.push_back(backend.prepare({{source_of(w_)}, false, options.weight_dtype, {0, options.hidden}}));
  }
}

Status ProductsBench::run(KernelReport& report) {
  for (const int64_t tokens : options_.token_counts) OCTET_RETURN_IF_ERROR(run_dense(report, tokens));
  for (const int64_t tokens : options_.token_counts) OCTET_RETURN_IF_ERROR(run_experts(report, tokens));
  return ok_status();
}

void ProductsBench::add_layer() {
  const MatrixSource w13 = source_of(w13_);
  WeightSpec up{{w13.slice_rows(0, options_.ffn), w13.slice_rows(options_.ffn, options_.ffn)},
                true,
                options_.weight_dtype,
                {0, options_.hidden}};
  WeightSpec down{{source_of(w2_)}, false, options_.weight_dtype, {}};
  for (int64_t i = 0; i <= kNumPartials; ++i) down.partial_bounds.push_back(i * options_.ffn / kNumPartials);
  std::vector<Weight> ups, downs;
  for (int64_t e = 0; e < options_.num_experts; ++e) {
    ups.push_back(backend_.prepare(up));
    downs.push_back(backend_.prepare(down));
  }
  up_.push_back(backend_.group(std::move(ups)));
  down_.push_back(backend_.group(std::move(downs)));
}

Tensor ProductsBench::rows_of(int64_t rows, int64_t width, uint32_t seed) const {
  const Tensor narrow = random_matrix(options_.weight_dtype, rows, width, seed);
  Tensor wide = Tensor::host(DType::kF32, {rows, width});
  read_as_f32(static_cast<const std::byte*>(narrow.view.data), options_.weight_dtype, rows * width,
              wide.view.as<float>());
  return wide;
}

Status ProductsBench::check(TensorView y, const Tensor& x, const std::vector<int32_t>* row_of, const Expected& expected,
                            double tolerance) {
  const Tensor actual = to_host(backend_, y, stream_);
  const int64_t num_outputs = y.row_elements();
  double largest = 0;
  double error = 0;
  for (const int64_t a : {int64_t{0}, y.rows() / 2, y.rows() - 1}) {
    const int64_t row = row_of == nullptr ? a : (*row_of)[static_cast<size_t>(a)];
    for (int64_t n = a % num_outputs; n < num_outputs; n += 97) {
      const double value = expected(x.view.as<float>() + row * x.view.row_elements(), n);
      largest = std::max(largest, std::abs(value));
      error = std::max(error, std::abs(value - double{actual.view.as<float>()[a * num_outputs + n]}));
    }
  }
  if (error <= tolerance * largest) return ok_status();
  return failed("{}: a product of {} rows and {} inputs is off by {} of {}", backend_.name(), y.rows(),
                x.view.row_elements(), error, largest);
}

Status ProductsBench::run_dense(KernelReport& report, int64_t tokens) {
  const Tensor host_x = rows_of(tokens, options_.hidden, 6);
  const Tensor x = to_device(backend_, host_x);
  const Tensor y = backend_.allocate_tensor(DType::kF32, {tokens, options_.hidden});
  const auto call = [&] { backend_.gemm(x.view, dense_[next_++ % dense_.size()], y.view, stream_); };
  call();
  OCTET_RETURN_IF_ERROR(check(
      y.view, host_x, nullptr, [&](const float* row, int64_t n) { return dot(row, source_of(w_), n); }, kSumTolerance));
  // As many products as read some 256 MB: a single one is too short to time.
  const auto weight_bytes = static_cast<double>(options_.hidden * options_.hidden * dtype_size(options_.weight_dtype));
  const auto calls = static_cast<int>(std::clamp(256e6 / weight_bytes / static_cast<double>(tokens), 1.0, 64.0));
  const double operations = 2.0 * static_cast<double>(tokens * options_.hidden * options_.hidden);
  report.measure("dense", fmt::format("{} rows", tokens), {weight_bytes, operations}, call, calls);
  return ok_status();
}

ProductsBench::Routing ProductsBench::route(int64_t tokens, uint32_t seed) {
  std::mt19937 engine(seed);
  const int64_t top_k = options_.top_k;
  const Tensor ids = Tensor::host(DType::kI32, {tokens, top_k});
  std::vector<int32_t> deck(static_cast<size_t>(options_.num_experts));
  std::iota(deck.begin(), deck.end(), 0);
  for (int64_t t = 0; t < tokens; ++t) {
    std::shuffle(deck.begin(), deck.end(), engine);
    std::copy_n(deck.begin(), top_k, ids.view.as<int32_t>() + t * top_k);
  }
  const Tensor local = Tensor::host(DType::kI32, {options_.num_experts});
  std::iota(local.view.as<int32_t>(), local.view.as<int32_t>() + options_.num_experts, 0);
  Routing routing;
  routing.offsets = backend_.allocate_tensor(DType::kI32, {options_.num_experts + 1});
  routing.rows = backend_.allocate_tensor(DType::kI32, {tokens * top_k});
  routing.slots = backend_.allocate_tensor(DType::kI32, {tokens, top_k});
  routing.groups = {routing.offsets.view, routing.rows.view, routing.slots.view};
  const Tensor device_ids = to_device(backend_, ids);
  const Tensor device_local = to_device(backend_, local);
  backend_.group_by_expert(device_ids.view, device_local.view, routing.groups, stream_);
  const auto read = [&](const Tensor& tensor) {
    const Tensor host = to_host(backend_, tensor.view, stream_);
    return std::vector<int32_t>(host.view.as<int32_t>(), host.view.as<int32_t>() + host.view.num_elements());
  };
  routing.host_offsets = read(routing.offsets);
  routing.host_rows = read(routing.rows);
  for (size_t e = 0; e + 1 < routing.host_offsets.size(); ++e)
    routing.distinct_experts += routing.host_offsets[e] < routing.host_offsets[e + 1];
  return routing;
}

const WeightGroup& ProductsBench::next_layer(Layers& layers) {
  // Layer after layer, and when all have had their turn, from another expert on.
  const size_t at = next_++ % layers.size();
  if (at == 0) {
    for (WeightGroup& layer : layers) {
      Weight moved = backend_.replace(layer, 0, Weight{}, stream_);
      for (size_t e = layer.weights.size(); e-- > 0;) moved = backend_.replace(layer, e, std::move(moved), stream_);
    }
  }
  return layers[at];
}

Status ProductsBench::run_experts(KernelReport& report, int64_t tokens) {
  Routing routing = route(tokens, static_cast<uint32_t>(tokens));
  const std::string what = fmt::format("{} tokens, {} experts", tokens, routing.distinct_experts);
  OCTET_RETURN_IF_ERROR(run_grouped(report, routing, what, kSumTolerance));
  if (backend_.memory_kind() == MemoryKind::kHost) return ok_status();
  routing.groups.host_offsets = routing.host_offsets;
  return run_grouped(report, routing, what + ", counted", rounding_tolerance(options_.weight_dtype));
}

Work ProductsBench::expert_work(const Routing& routing, int64_t matrices) const {
  const int64_t weights = options_.hidden * options_.ffn * matrices;
  return {static_cast<double>(routing.distinct_experts * weights * dtype_size(options_.weight_dtype)),
          2.0 * static_cast<double>(routing.host_offsets.back()) * static_cast<double>(weights)};
}

Status ProductsBench::run_grouped(KernelReport& report, const Routing& routing, const std::string& what,
                                  double tolerance) {
  const int64_t rows = routing.host_offsets.back();
  const Tensor host_x = rows_of(rows / options_.top_k, options_.hidden, 7);
  const Tensor host_hidden = rows_of(rows, options_.ffn, 8);
  const Tensor x = to_device(backend_, host_x);
  const Tensor hidden = to_device(backend_, host_hidden);
  const Tensor inner = backend_.allocate_tensor(DType::kF32, {rows, options_.ffn});
  const Tensor y = backend_.allocate_tensor(DType::kF32, {rows, options_.hidden});
  const auto up = [&] { backend_.grouped_gemm(x.view, routing.groups, next_layer(up_), inner.view, stream_); };
  const auto down = [&] {
    backend_.grouped_gemm(hidden.view, routing.groups.in_order(), next_layer(down_), y.view, stream_);
  };
  up();
  const MatrixSource w1 = source_of(w13_).slice_rows(0, options_.ffn);
  const MatrixSource w3 = source_of(w13_).slice_rows(options_.ffn, options_.ffn);
  const auto gated = [&](const float* row, int64_t n) {
    const double gate = dot(row, w1, n);
    return gate / (1 + std::exp(-gate)) * dot(row, w3, n);
  };
  OCTET_RETURN_IF_ERROR(check(inner.view, host_x, &routing.host_rows, gated, tolerance));
  report.measure("up", what, expert_work(routing, 2), up);
  down();
  OCTET_RETURN_IF_ERROR(check(
      y.view, host_hidden, nullptr, [&](const float* row, int64_t n) { return dot(row, source_of(w2_), n); },
      tolerance));
  report.measure("down", what, expert_work(routing, 1), down);
  return ok_status();
}

}  // namespace octet
