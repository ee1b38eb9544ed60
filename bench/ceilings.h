// The ceilings of this machine: what memory and arithmetic give at best, with the vectors that the kernels use.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "bench/timing.h"
#include "kernels/cpu/isa.h"
#include "runtime/base/status.h"
#include "runtime/base/tensor.h"
#include "runtime/base/thread_pool.h"

namespace octet {

struct Int8Ceiling {
  std::string_view instructions;  // Int8Instructions::name
  double operations_per_second = 0;
};

struct Ceilings {
  double read_bytes_per_second = 0;
  double f32_operations_per_second = 0;  // a multiply-add counts as two
  std::vector<Int8Ceiling> int8 = {};    // the same of integer dot products, of each of the instruction set's

  double int8_operations_per_second() const;  // the best of them, 0 where there are none
};

// Measures the ceilings of all threads of a pool again and again, between other measurements.
class CeilingProbe {
 public:
  // Every measurement reads another piece of `memory_bytes`, so that no cache holds it.
  CeilingProbe(const Isa& isa, ThreadPool& pool, BenchClock clock, int64_t memory_bytes);

  // Without int8. Takes some 50 ms.
  Ceilings measure();
  // Takes some 50 ms for each kind of instructions.
  std::vector<Int8Ceiling> measure_int8() const;

 private:
  // Operations a second of loop(piece), which returns the operations it did, over all pieces.
  template <typename Loop>
  double rate(const Loop& loop) const;

  Isa isa_;
  ThreadPool& pool_;
  Stopwatch stopwatch_;
  Buffer memory_;
  int64_t round_ = 0;
};

// Each ceiling's median of `rounds` measurements.
Ceilings median_ceilings(CeilingProbe& probe, int rounds);

// In GB/s, GFLOP/s and GOP/s; int8_gop_s is the best of int8_gop_s_of.
nlohmann::ordered_json ceilings_json(const Ceilings& ceilings, int num_threads);

struct CeilingsOptions {
  int num_threads = 0;                      // 0: num_available_cpus()
  std::string isa;                          // empty: the best of this machine
  int64_t memory_bytes = int64_t{2} << 30;  // much larger than any cache
  int rounds = 9;                           // the median of so many is reported
  BenchClock clock = BenchClock::kWall;
  bool json = false;  // one JSON object instead of a table
};

// Prints the ceilings with one thread and with all to stdout.
Status run_ceilings_bench(const CeilingsOptions& options);

}  // namespace octet
