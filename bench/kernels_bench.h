// How near a backend's kernels come to what its device gives at best, at the shapes of a Mixtral layer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/limits.h"
#include "bench/timing.h"
#include "kernels/backend.h"
#include "runtime/base/status.h"
#include "runtime/base/tensor.h"

namespace octet {

struct KernelsBenchOptions {
  int64_t hidden = 4096;
  int64_t ffn = 14336;
  int64_t num_experts = 8;
  int64_t top_k = 2;
  int64_t num_heads = 32;
  int64_t num_kv_heads = 8;
  int64_t vocab = 32000;
  DType weight_dtype = DType::kBF16;
  std::vector<int64_t> token_counts = {1, 2, 4, 8, 16, 32, 128, 512};
  std::vector<int64_t> context_lengths = {512, 8192};
  int64_t weight_megabytes = 2048;       // of each kind of weight; calls take them in turn, so that no cache holds them
  int rounds = 5;                        // the median of so many is reported
  BenchClock clock = BenchClock::kWall;  // of a backend in host memory; others are timed on their streams
  bool json = false;                     // one JSON object instead of a table
};

struct BenchDevice {
  std::string name;  // "cpu (avx512, 2 threads)"
  Backend& backend;
  int num_threads = 1;  // of the cpu backend
  LimitSource limits;
};

// Prints, for every kernel and number of rows: time, GB/s of weights (or pages), GFLOP/s, and the bound's share, where
// limits are known: the time that they allow, max(bytes / read, operations / products), over the time it took. The
// results of every line are compared with plain loops before it is timed; a wrong one is kFailed.
//   dense     hidden × hidden
//   up        silu(w1 x) ⊙ (w3 x) of the experts that random tokens choose
//   down      w2 of the same, in eight partial sums
//             ("counted": with every expert's rows known on the host, as after an all-to-all; other devices than the
//             cpu may choose by it)
//   decode    attention of one token each of so many sequences
//   prefill   attention of the last 512 tokens of a context
//   sample    the choice of a token from each row of logits
Status run_kernels_bench(const KernelsBenchOptions& options, const BenchDevice& device);

}  // namespace octet
