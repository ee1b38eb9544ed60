#include "bench/ceilings.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

namespace octet {
namespace {

// Bytes that one measurement reads.
constexpr int64_t kReadBytes = int64_t{256} << 20;
// Iterations of an arithmetic loop.
constexpr int64_t kIterations = 8'000'000;
// Pieces of a measurement: threads that are slower take fewer.
constexpr int64_t kPieces = 32;
constexpr int64_t kPieceIterations = kIterations / kPieces;

// Registers full of bytes that no multiplier could find easy, and the sums of all chains.
struct Int8Operands {
  Int8Operands() {
    for (size_t i = 0; i < a.size(); ++i) {
      a[i] = static_cast<uint8_t>(i * 37 + 11);
      b[i] = static_cast<int8_t>(i * 59 + 5);
    }
  }
  std::array<uint8_t, 64> a{};
  std::array<int8_t, 64> b{};
  std::array<int32_t, size_t{kInt8Chains} * 16> sums{};
};

}  // namespace

double Ceilings::int8_operations_per_second() const {
  double best = 0;
  for (const Int8Ceiling& ceiling : int8) best = std::max(best, ceiling.operations_per_second);
  return best;
}

CeilingProbe::CeilingProbe(const Isa& isa, ThreadPool& pool, BenchClock clock, int64_t memory_bytes)
    : isa_(isa),
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
      rate([&](int64_t piece) { return isa_.kernels().read_loop(begin + piece * bytes, bytes); });
  ceilings.f32_operations_per_second =
      rate([&](int64_t) { return isa_.kernels().multiply_add_loop(kPieceIterations); });
  return ceilings;
}

std::vector<Int8Ceiling> CeilingProbe::measure_int8() const {
  std::vector<Int8Ceiling> ceilings;
  for (const Int8Instructions& int8 : isa_.int8) {
    ceilings.push_back({int8.name, rate([&](int64_t) {
                          Int8Operands operands;
                          return int8.loop(operands.a.data(), operands.b.data(), kPieceIterations,
                                           operands.sums.data());
                        })});
  }
  return ceilings;
}

Ceilings median_ceilings(CeilingProbe& probe, int rounds) {
  std::vector<double> read;
  std::vector<double> f32;
  std::vector<std::vector<Int8Ceiling>> int8;  // by rounds, then by instructions
  for (int round = 0; round < rounds; ++round) {
    const Ceilings ceilings = probe.measure();
    read.push_back(ceilings.read_bytes_per_second);
    f32.push_back(ceilings.f32_operations_per_second);
    int8.push_back(probe.measure_int8());
  }
  Ceilings medians{median(read), median(f32)};
  for (size_t kind = 0; kind < int8.front().size(); ++kind) {
    std::vector<double> operations;
    for (const auto& round_of_all : int8) operations.push_back(round_of_all[kind].operations_per_second);
    medians.int8.push_back({int8.front()[kind].instructions, median(operations)});
  }
  return medians;
}

nlohmann::ordered_json ceilings_json(const Ceilings& ceilings, int num_threads) {
  nlohmann::ordered_json int8 = nlohmann::ordered_json::object();
  for (const Int8Ceiling& kind : ceilings.int8) int8[std::string(kind.instructions)] = kind.operations_per_second / 1e9;
  return {{"threads", num_threads},
          {"read_gb_s", ceilings.read_bytes_per_second / 1e9},
          {"f32_gflop_s", ceilings.f32_operations_per_second / 1e9},
          {"int8_gop_s", ceilings.int8_operations_per_second() / 1e9},
          {"int8_gop_s_of", std::move(int8)}};
}

Status run_ceilings_bench(const CeilingsOptions& options) {
  OCTET_ASSIGN_OR_RETURN(const Isa isa, find_isa(options.isa));
  ThreadPool all(options.num_threads);
  ThreadPool one(1);
  nlohmann::ordered_json json = {{"isa", isa.name}, {"rounds", options.rounds}, {"results", nlohmann::json::array()}};
  if (!options.json) {
    std::vector<std::string> columns;
    for (const Int8Instructions& int8 : isa.int8) {
      columns.push_back(fmt::format(" {:>24}", fmt::format("int8 GOP/s {}", int8.name)));
    }
    fmt::print("{}, median of {}\n{:>8} {:>14} {:>16}{}\n", isa.name, options.rounds, "threads", "read GB/s",
               "fp32 GFLOP/s", fmt::join(columns, ""));
  }
  for (ThreadPool* pool : {&one, &all}) {
    if (pool == &one && all.num_threads() == 1) continue;
    CeilingProbe probe(isa, *pool, options.clock, options.memory_bytes);
    const Ceilings ceilings = median_ceilings(probe, options.rounds);
    if (options.json) {
      json["results"].push_back(ceilings_json(ceilings, pool->num_threads()));
    } else {
      fmt::print("{:>8} {:>14.1f} {:>16.0f}", pool->num_threads(), ceilings.read_bytes_per_second / 1e9,
                 ceilings.f32_operations_per_second / 1e9);
      for (const Int8Ceiling& int8 : ceilings.int8) fmt::print(" {:>24.0f}", int8.operations_per_second / 1e9);
      fmt::print("\n");
    }
  }
  if (options.json) fmt::print("{}\n", json.dump(2));
  return ok_status();
}

}  // namespace octet
