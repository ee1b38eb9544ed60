#include "bench/ceilings.h"

#include <fmt/format.h>

#include <atomic>
#include <cstring>
#include <nlohmann/json.hpp>

namespace octet {
namespace {

// Bytes that one measurement reads.
constexpr int64_t kReadBytes = int64_t{256} << 20;
// Iterations of an arithmetic loop.
constexpr int64_t kIterations = 8'000'000;
// Pieces of a measurement: threads that are slower take fewer.
constexpr int64_t kPieces = 32;

}  // namespace

CeilingProbe::CeilingProbe(const KernelTable& kernels, ThreadPool& pool, BenchClock clock, int64_t memory_bytes)
    : kernels_(kernels),
      pool_(pool),
      stopwatch_(clock, pool.num_threads()),
      memory_(Buffer::host(static_cast<size_t>(memory_bytes))) {
  // Untouched pages would all be the same page of zeros.
  const int64_t piece = memory_bytes / kPieces;
  pool.parallel_for(kPieces,
                    [&](int64_t i, int) { std::memset(memory_.data() + i * piece, 1, static_cast<size_t>(piece)); });
}

template <typename Loop>
double CeilingProbe::rate(const Loop& loop) const {
  std::atomic<int64_t> done{0};
  const double seconds =
      stopwatch_.time([&] { pool_.parallel_for(kPieces, [&](int64_t piece, int) { done += loop(piece); }); });
  return static_cast<double>(done.load()) / seconds;
}

Ceilings CeilingProbe::measure() {
  const auto total = static_cast<int64_t>(memory_.size());
  const int64_t bytes = std::min(kReadBytes, total) / kPieces / 1024 * 1024;
  const int64_t places = std::max(total / (bytes * kPieces), int64_t{1});
  const std::byte* begin = memory_.data() + round_++ % places * bytes * kPieces;
  Ceilings ceilings;
  ceilings.read_bytes_per_second =
      rate([&](int64_t piece) { return kernels_.read_loop(begin + piece * bytes, bytes); });
  constexpr int64_t kPieceIterations = kIterations / kPieces;
  ceilings.f32_operations_per_second = rate([&](int64_t) { return kernels_.multiply_add_loop(kPieceIterations); });
  if (has_vnni()) ceilings.int8_operations_per_second = rate([](int64_t) { return vnni_dot_loop(kPieceIterations); });
  return ceilings;
}

Ceilings median_ceilings(CeilingProbe& probe, int rounds) {
  std::vector<double> read;
  std::vector<double> f32;
  std::vector<double> int8;
  for (int round = 0; round < rounds; ++round) {
    const Ceilings ceilings = probe.measure();
    read.push_back(ceilings.read_bytes_per_second);
    f32.push_back(ceilings.f32_operations_per_second);
    int8.push_back(ceilings.int8_operations_per_second);
  }
  return {median(read), median(f32), median(int8)};
}

Status run_ceilings_bench(const CeilingsOptions& options) {
  OCTET_ASSIGN_OR_RETURN(const Isa isa, find_isa(options.isa));
  ThreadPool all(options.num_threads);
  ThreadPool one(1);
  nlohmann::ordered_json json = {{"isa", isa.name}, {"rounds", options.rounds}, {"results", nlohmann::json::array()}};
  if (!options.json) {
    fmt::print("{}, median of {}\n{:>8} {:>14} {:>16} {:>16}\n", isa.name, options.rounds, "threads", "read GB/s",
               "fp32 GFLOP/s", "int8 GOP/s");
  }
  for (ThreadPool* pool : {&one, &all}) {
    if (pool == &one && all.num_threads() == 1) continue;
    CeilingProbe probe(isa.kernels(), *pool, options.clock, options.memory_bytes);
    const Ceilings ceilings = median_ceilings(probe, options.rounds);
    const double read = ceilings.read_bytes_per_second / 1e9;
    const double f32 = ceilings.f32_operations_per_second / 1e9;
    const double int8 = ceilings.int8_operations_per_second / 1e9;
    if (options.json) {
      json["results"].push_back(
          {{"threads", pool->num_threads()}, {"read_gb_s", read}, {"f32_gflop_s", f32}, {"int8_gop_s", int8}});
    } else {
      fmt::print("{:>8} {:>14.1f} {:>16.0f} {:>16.0f}\n", pool->num_threads(), read, f32, int8);
    }
  }
  if (options.json) fmt::print("{}\n", json.dump(2));
  return ok_status();
}

}  // namespace octet
