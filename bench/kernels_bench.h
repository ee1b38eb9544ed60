// How near the cpu backend's kernels come to the machine's ceilings, at the shapes of a Mixtral layer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/timing.h"
#include "runtime/base/status.h"
#include "runtime/base/tensor.h"

namespace octet {

struct KernelsBenchOptions {
  int num_threads = 0;  // 0: the affinity mask
  std::string isa;      // empty: the best of this machine
  int64_t hidden = 4096;
  int64_t ffn = 14336;
  int64_t num_experts = 8;
  int64_t top_k = 2;
  int64_t num_heads = 32;
  int64_t num_kv_heads = 8;
  DType weight_dtype = DType::kBF16;
  std::vector<int64_t> token_counts = {1, 2, 4, 8, 16, 32, 128, 512};
  std::vector<int64_t> context_lengths = {512, 8192};
  int rounds = 5;  // the median of so many is reported
  BenchClock clock = BenchClock::kWall;
  bool json = false;  // one JSON object instead of a table
};

// Prints, for every kernel and number of rows: time, GB/s of weights (or pages), GFLOP/s, and the bound's share: the
// time that the ceilings measured around it allow, max(bytes / read bandwidth, operations / multiply-add peak), over
// the time it took. Results are checked against plain loops first; a wrong one is kFailed.
//   dense     hidden × hidden
//   up        silu(w1 x) ⊙ (w3 x) of the experts that random tokens choose
//   down      w2 of the same, in eight partial sums
//   decode    attention of one token each of so many sequences
//   prefill   attention of the last 512 tokens of a context
Status run_kernels_bench(const KernelsBenchOptions& options);

}  // namespace octet
