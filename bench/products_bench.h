// The dense and grouped products of a Mixtral layer, timed.
#pragma once

#include <vector>

#include "bench/kernels_bench.h"
#include "bench/report.h"
#include "kernels/cpu/cpu_backend.h"

namespace octet {

// Random matrices, packed as many times as it takes to be larger than any cache; calls take them in turn.
class ProductsBench {
 public:
  ProductsBench(const KernelsBenchOptions& options, CpuBackend& backend);

  // kFailed where outputs differ from plain loops.
  Status check();
  void run(KernelReport& report);

 private:
  using Layers = std::vector<std::vector<Weight>>;  // [layer][expert]

  void add_layer();
  void run_dense(KernelReport& report, int64_t tokens);
  void run_experts(KernelReport& report, int64_t tokens);
  // Each token chooses top_k experts at random.
  ExpertGroups route(int64_t tokens, uint32_t seed);
  int64_t distinct_experts() const;
  // The experts that the next call works with: a few experts of one layer might stay in a large cache.
  std::vector<Weight>& next_layer(Layers& layers);

  double operations(int64_t rows, int64_t matrices) const;
  double bytes(int64_t experts, int64_t matrices) const;

  const KernelsBenchOptions& options_;
  CpuBackend& backend_;
  HostStream stream_;
  Tensor w13_;
  Tensor w2_;
  Tensor w_;
  Layers up_;
  Layers down_;
  std::vector<Weight> dense_;
  size_t next_ = 0;
  // Of route().
  Tensor ids_;
  Tensor local_;
  Tensor offsets_;
  Tensor rows_;
  Tensor slots_;
};

}  // namespace octet
