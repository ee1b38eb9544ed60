// Attention over the paged KV cache at the heads of a Mixtral layer, timed.
#pragma once

#include <string>
#include <vector>

#include "bench/kernels_bench.h"
#include "bench/report.h"
#include "kernels/cpu/cpu_backend.h"

namespace octet {

class AttentionBench {
 public:
  AttentionBench(const KernelsBenchOptions& options, CpuBackend& backend) : options_(options), backend_(backend) {}

  // kFailed where a decoded row differs from a plain loop.
  Status check();
  void run(KernelReport& report);

 private:
  // So many sequences at the end of contexts of one length, each with so many rows, and a cache of random values.
  struct Scene {
    DType kv_dtype = DType::kF32;
    int64_t num_sequences = 0;
    int64_t rows = 0;     // of each sequence
    int64_t context = 0;  // positions of each sequence, its rows included
    AttentionShape shape;
    Tensor memory;
    KvCacheView cache;
    Tensor qkv;
    Tensor positions;
    Tensor page_tables;
    Tensor out;
    std::vector<SequenceRows> sequences;

    Work work() const;
  };

  Scene make_scene(DType kv_dtype, int64_t num_sequences, int64_t rows, int64_t context) const;
  void attend(Scene& scene);
  void measure(KernelReport& report, const std::string& kernel, Scene scene);

  const KernelsBenchOptions& options_;
  CpuBackend& backend_;
  HostStream stream_;
};

}  // namespace octet
