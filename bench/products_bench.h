// The dense and grouped products of a Mixtral layer, timed.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/kernels_bench.h"
#include "bench/report.h"

namespace octet {

// Random matrices, prepared as many times as it takes to be larger than any cache; calls take them in turn.
class ProductsBench {
 public:
  ProductsBench(const KernelsBenchOptions& options, Backend& backend, Stream& stream);

  // kFailed where outputs differ from plain loops.
  Status run(KernelReport& report);

 private:
  using Layers = std::vector<WeightGroup>;
  // Output n of a row of inputs, by a plain loop.
  using Expected = std::function<double(const float* row, int64_t n)>;

  // Tokens whose choices are grouped by expert.
  struct Routing {
    Tensor offsets, rows, slots;  // the backend's
    ExpertGroups groups;
    std::vector<int32_t> host_offsets;
    std::vector<int32_t> host_rows;
    int64_t distinct_experts = 0;
  };

  void add_layer();
  Status run_dense(KernelReport& report, int64_t tokens);
  Status run_experts(KernelReport& report, int64_t tokens);
  Status run_grouped(KernelReport& report, const Routing& routing, const std::string& what, double tolerance);
  // Each token chooses top_k experts at random.
  Routing route(int64_t tokens, uint32_t seed);
  // The experts that the next call works with: a few experts of one layer might stay in a large cache.
  const WeightGroup& next_layer(Layers& layers);
  // Some outputs of y[a] = expected(x[row_of(a)]) of the first, a middle and the last a.
  Status check(TensorView y, const Tensor& x, const std::vector<int32_t>* row_of, const Expected& expected,
               double tolerance);
  // Random rows of values that the weights' type holds, so that products are exact but for the order of sums.
  Tensor rows_of(int64_t rows, int64_t width, uint32_t seed) const;
  Work expert_work(const Routing& routing, int64_t matrices) const;

  const KernelsBenchOptions& options_;
  Backend& backend_;
  Stream& stream_;
  Tensor w13_;
  Tensor w2_;
  Tensor w_;
  Layers up_;
  Layers down_;
  std::vector<Weight> dense_;
  size_t next_ = 0;
};

}  // namespace octet
