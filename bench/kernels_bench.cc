#include "bench/kernels_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "bench/ceilings.h"
#include "kernels/cpu/cpu_backend.h"
#include "runtime/base/float16.h"

namespace octet {
namespace {

// Weights are as many layers as it takes to be larger than any cache; calls take them in turn.
constexpr int64_t kWeightBytes = int64_t{2} << 30;
constexpr int64_t kNumPartials = 8;
constexpr int64_t kHeadDim = 128;

// What one call reads and computes.
struct Work {
  double bytes = 0;
  double operations = 0;
};

Tensor random_tensor(Shape shape, uint32_t seed) {
  Tensor tensor = Tensor::host(DType::kF32, shape);
  std::mt19937 engine(seed);
  std::uniform_real_distribution<float> real(-1.0F, 1.0F);
  for (int64_t i = 0; i < shape.num_elements(); ++i) tensor.view.as<float>()[i] = real(engine);
  return tensor;
}

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

// Prints lines, or collects them for JSON.
class Report {
 public:
  Report(const KernelsBenchOptions& options, const Isa& isa, CeilingProbe& probe, int num_threads)
      : options_(options), probe_(probe), stopwatch_(options.clock, num_threads) {
    json_ = {{"isa", isa.name},
             {"threads", num_threads},
             {"hidden", options.hidden},
             {"ffn", options.ffn},
             {"weights", dtype_name(options.weight_dtype)},
             {"results", nlohmann::json::array()}};
    if (options.json) return;
    fmt::print("{}, {} threads, hidden {}, ffn {}, {} weights, median of {}\n", isa.name, num_threads, options.hidden,
               options.ffn, dtype_name(options.weight_dtype), options.rounds);
    fmt::print("{:>8} {:>24} {:>10} {:>8} {:>9} {:>7}\n", "kernel", "what", "ms", "GB/s", "GFLOP/s", "bound");
  }

  // Times call(round), with the ceilings measured before every round.
  void measure(const std::string& kernel, const std::string& what, const std::function<Work(int)>& call) {
    std::vector<double> milliseconds;
    std::vector<double> bytes;
    std::vector<double> operations;
    std::vector<double> shares;
    call(0);
    for (int round = 1; round <= options_.rounds; ++round) {
      const Ceilings ceilings = probe_.measure();
      Work work;
      const double seconds = stopwatch_.time([&] { work = call(round); });
      const double bound =
          std::max(work.bytes / ceilings.read_bytes_per_second, work.operations / ceilings.f32_operations_per_second);
      milliseconds.push_back(seconds * 1e3);
      bytes.push_back(work.bytes / seconds / 1e9);
      operations.push_back(work.operations / seconds / 1e9);
      shares.push_back(bound / seconds);
    }
    const double line[] = {median(milliseconds), median(bytes), median(operations), median(shares)};
    if (!options_.json) {
      fmt::print("{:>8} {:>24} {:>10.3f} {:>8.1f} {:>9.1f} {:>7.2f}\n", kernel, what, line[0], line[1], line[2],
                 line[3]);
      std::fflush(stdout);
    }
    json_["results"].push_back({{"kernel", kernel},
                                {"what", what},
                                {"ms", line[0]},
                                {"gb_s", line[1]},
                                {"gflop_s", line[2]},
                                {"share_of_bound", line[3]}});
  }

  void finish() const {
    if (options_.json) fmt::print("{}\n", json_.dump(2));
  }

 private:
  const KernelsBenchOptions& options_;
  CeilingProbe& probe_;
  Stopwatch stopwatch_;
  nlohmann::ordered_json json_;
};

// The products of a layer: random matrices, packed as many times as there are layers.
class ProductsBench {
 public:
  ProductsBench(const KernelsBenchOptions& options, CpuBackend& backend)
      : options_(options),
        backend_(backend),
        w13_(random_matrix(options.weight_dtype, 2 * options.ffn, options.hidden, 1)),
        w2_(random_matrix(options.weight_dtype, options.hidden, options.ffn, 2)),
        w_(random_matrix(options.weight_dtype, options.hidden, options.hidden, 3)) {
    const int64_t layer_bytes =
        3 * options.hidden * options.ffn * options.num_experts * dtype_size(options.weight_dtype);
    const int64_t num_layers = std::max((kWeightBytes + layer_bytes - 1) / layer_bytes, int64_t{1});
    for (int64_t layer = 0; layer < num_layers; ++layer) add_layer();
    // A dense weight is small: enough of them, too.
    const int64_t dense_bytes = options.hidden * options.hidden * dtype_size(options.weight_dtype);
    for (int64_t i = 0; i < kWeightBytes / dense_bytes; ++i) {
      dense_.push_back(backend.prepare({{source_of(w_)}, false, options.weight_dtype, {0, options.hidden}}));
    }
  }

  Status check() {
    const Tensor x = random_tensor({3, options_.hidden}, 4);
    const Tensor ffn_x = random_tensor({3, options_.ffn}, 5);
    const MatrixSource w13 = source_of(w13_);
    const MatrixSource w1 = w13.slice_rows(0, options_.ffn);
    const MatrixSource w3 = w13.slice_rows(options_.ffn, options_.ffn);
    OCTET_RETURN_IF_ERROR(
        check_product(dense_.front(), x, [&](const float* row, int64_t n) { return dot(row, source_of(w_), n); }));
    OCTET_RETURN_IF_ERROR(check_product(down_.front().front(), ffn_x,
                                        [&](const float* row, int64_t n) { return dot(row, source_of(w2_), n); }));
    return check_product(up_.front().front(), x, [&](const float* row, int64_t n) {
      const double gate = dot(row, w1, n);
      return gate / (1 + std::exp(-gate)) * dot(row, w3, n);
    });
  }

  void run(Report& report) {
    for (const int64_t tokens : options_.token_counts) run_dense(report, tokens);
    for (const int64_t tokens : options_.token_counts) run_experts(report, tokens);
  }

 private:
  void add_layer() {
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

  // Some outputs of a few rows against `expected(row of x, output)`.
  template <typename Expected>
  Status check_product(const Weight& weight, const Tensor& x, const Expected& expected) {
    const Tensor y = Tensor::host(DType::kF32, {x.view.rows(), weight.num_outputs});
    backend_.gemm(x.view, weight, y.view, stream_);
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

  double operations(int64_t rows, int64_t matrices) const {
    return 2.0 * static_cast<double>(rows * options_.hidden * options_.ffn * matrices);
  }
  double bytes(int64_t experts, int64_t matrices) const {
    return static_cast<double>(experts * options_.hidden * options_.ffn * matrices * dtype_size(options_.weight_dtype));
  }

  void run_dense(Report& report, int64_t tokens) {
    const Tensor x = random_tensor({tokens, options_.hidden}, 6);
    const Tensor y = Tensor::host(DType::kF32, {tokens, options_.hidden});
    // As many products as read some 256 MB: a single one is too short to time.
    const auto weight_bytes =
        static_cast<double>(options_.hidden * options_.hidden * dtype_size(options_.weight_dtype));
    const auto calls = static_cast<size_t>(std::clamp(256e6 / weight_bytes / static_cast<double>(tokens), 1.0, 64.0));
    size_t next = 0;
    report.measure("dense", fmt::format("{} rows", tokens), [&](int) {
      for (size_t i = 0; i < calls; ++i) backend_.gemm(x.view, dense_[next++ % dense_.size()], y.view, stream_);
      const double operations = 2.0 * static_cast<double>(tokens * options_.hidden * options_.hidden);
      return Work{weight_bytes * static_cast<double>(calls), operations * static_cast<double>(calls)};
    });
  }

  // Each token chooses top_k experts at random.
  ExpertGroups route(int64_t tokens, uint32_t seed) {
    std::mt19937 engine(seed);
    const int64_t top_k = options_.top_k;
    ids_ = Tensor::host(DType::kI32, {tokens, top_k});
    std::vector<int32_t> deck(static_cast<size_t>(options_.num_experts));
    for (size_t e = 0; e < deck.size(); ++e) deck[e] = static_cast<int32_t>(e);
    for (int64_t t = 0; t < tokens; ++t) {
      std::shuffle(deck.begin(), deck.end(), engine);
      std::copy_n(deck.begin(), top_k, ids_.view.as<int32_t>() + t * top_k);
    }
    local_ = Tensor::host(DType::kI32, {options_.num_experts});
    for (int64_t e = 0; e < options_.num_experts; ++e) local_.view.as<int32_t>()[e] = static_cast<int32_t>(e);
    offsets_ = Tensor::host(DType::kI32, {options_.num_experts + 1});
    rows_ = Tensor::host(DType::kI32, {tokens * top_k});
    slots_ = Tensor::host(DType::kI32, {tokens, top_k});
    const ExpertGroups groups{offsets_.view, rows_.view, slots_.view};
    backend_.group_by_expert(ids_.view, local_.view, groups, stream_);
    return groups;
  }

  int64_t distinct_experts() const {
    const int32_t* offsets = offsets_.view.as<int32_t>();
    int64_t count = 0;
    for (int64_t e = 0; e < options_.num_experts; ++e) count += offsets[e] < offsets[e + 1] ? 1 : 0;
    return count;
  }

  void run_experts(Report& report, int64_t tokens) {
    const ExpertGroups groups = route(tokens, static_cast<uint32_t>(tokens));
    const int64_t rows = tokens * options_.top_k;
    const int64_t experts = distinct_experts();
    const Tensor x = random_tensor({tokens, options_.hidden}, 7);
    const Tensor hidden = random_tensor({rows, options_.ffn}, 8);
    const Tensor inner = Tensor::host(DType::kF32, {rows, options_.ffn});
    const Tensor y = Tensor::host(DType::kF32, {rows, options_.hidden});
    const std::string what = fmt::format("{} tokens, {} experts", tokens, experts);
    // Few experts of one layer might stay in a large cache from round to round: move on through the layers, and with
    // one layer alone through its experts.
    size_t next = 0;
    const auto take = [&](std::vector<std::vector<Weight>>& layers) -> std::vector<Weight>& {
      std::vector<Weight>& layer = layers[next % layers.size()];
      if (++next % layers.size() == 0) {
        for (auto& weights : layers) std::rotate(weights.begin(), weights.begin() + 1, weights.end());
      }
      return layer;
    };
    report.measure("up", what, [&](int) {
      backend_.grouped_gemm(x.view, groups.assignment_row, groups.offsets, take(up_), inner.view, stream_);
      return Work{bytes(experts, 2), operations(rows, 2)};
    });
    report.measure("down", what, [&](int) {
      backend_.grouped_gemm(hidden.view, {}, groups.offsets, take(down_), y.view, stream_);
      return Work{bytes(experts, 1), operations(rows, 1)};
    });
  }

  const KernelsBenchOptions& options_;
  CpuBackend& backend_;
  HostStream stream_;
  Tensor w13_;
  Tensor w2_;
  Tensor w_;
  std::vector<std::vector<Weight>> up_;    // [layer][expert]
  std::vector<std::vector<Weight>> down_;  // [layer][expert]
  std::vector<Weight> dense_;
  Tensor ids_;
  Tensor local_;
  Tensor offsets_;
  Tensor rows_;
  Tensor slots_;
};

}  // namespace

Status run_kernels_bench(const KernelsBenchOptions& options) {
  OCTET_ASSIGN_OR_RETURN(const Isa isa, find_isa(options.isa));
  CpuBackend backend(isa, options.num_threads);
  ThreadPool pool(options.num_threads);
  CeilingProbe probe(isa.kernels(), pool, options.clock, kWeightBytes);
  ProductsBench products(options, backend);
  OCTET_RETURN_IF_ERROR(products.check());
  Report report(options, isa, probe, pool.num_threads());
  products.run(report);
  report.finish();
  return ok_status();
}

}  // namespace octet
