// Attention over the paged KV cache at the heads of a Mixtral layer, timed.
#pragma once

#include <string>
#include <vector>

#include "bench/kernels_bench.h"
#include "bench/report.h"

namespace octet {

class AttentionBench {
 public:
  AttentionBench(const KernelsBenchOptions& options, Backend& backend, Stream& stream)
      : options_(options), backend_(backend), stream_(stream) {}

  // Over every type of page that the backend takes. kFailed where results differ from a plain loop.
  Status run(KernelReport& report);

 private:
  // So many sequences at the end of contexts of one length, each with so many rows, and a cache of random values, which
  // are the same in every page and head.
  struct Scene {
    DType kv_dtype = DType::kF32;
    int64_t num_sequences = 0;
    int64_t rows = 0;     // of each sequence
    int64_t context = 0;  // positions of each sequence, its rows included
    AttentionShape shape;
    std::vector<float> block;  // the elements of every block, as fp32
    Tensor host_qkv;
    std::vector<SequenceRows> sequences;
    // The backend's.
    Tensor memory;
    KvCacheView cache;
    Tensor qkv, positions, page_tables, out;

    Work work() const;
    // Element 0 of the output of a query head, by a plain loop.
    double expected(int64_t sequence, int64_t row, int64_t head) const;
  };

  Scene make_scene(DType kv_dtype, int64_t num_sequences, int64_t rows, int64_t context);
  void fill_cache(Scene& scene);
  void place_rows(Scene& scene);
  void attend(Scene& scene);
  Status check(const Scene& scene);
  Status measure(KernelReport& report, const std::string& kernel, Scene scene);

  const KernelsBenchOptions& options_;
  Backend& backend_;
  Stream& stream_;
};

}  // namespace octet
