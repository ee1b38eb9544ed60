#include "bench/exchange_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "bench/random_tensor.h"
#include "bench/timing.h"
#include "comm/agreement.h"
#include "comm/mpi_raw.h"
#include "parallel/expert_exchange_all_to_all.h"
#include "parallel/expert_placement.h"
#include "runtime/base/float16.h"

namespace octet {
namespace {

// What a measurement needs besides its own call.
struct Line {
  std::string what;
  std::function<void()> call;
  std::vector<double> seconds;  // of the slowest rank, one a round
  double bytes = 0;             // that rank 0 sends to others
};

class ExchangeBench {
 public:
  ExchangeBench(CommWorld& world, Backend& backend, const ExchangeBenchOptions& options)
      : world_(world),
        backend_(backend),
        options_(options),
        topology_{.world = world.size(), .dp = world.size(), .ep = world.size()},
        comms_(world, topology_),
        stream_(backend.make_stream()),
        stopwatch_(BenchClock::kWall, 1),
        results_(nlohmann::ordered_json::array()) {}

  Status run() {
    print_head();
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      for (const int64_t rows : options_.row_counts) {
        measure_transport(rows, dtype);
        OCTET_RETURN_IF_ERROR(measure_exchange(rows, dtype));
      }
    }
    if (options_.json && world_.rank() == 0) {
      const nlohmann::ordered_json json = {{"benchmark", "exchange"},       {"ranks", world_.size()},
                                           {"hidden", options_.hidden},     {"experts", options_.num_experts},
                                           {"top_k", options_.top_k},       {"rounds", options_.rounds},
                                           {"results", std::move(results_)}};
      fmt::print("{}\n", json.dump(2));
    }
    return ok_status();
  }

 private:
  void print_head() const;
  void measure_transport(int64_t rows, DType dtype);
  Status measure_exchange(int64_t rows, DType dtype);
  void time_in_turns(std::vector<Line>& lines);
  double slowest(double seconds);
  void report(const Line& line, int64_t rows, DType dtype, double against_mpi);
  // Distinct experts of every row, and their weights.
  void route(int64_t rows, Tensor& ids, Tensor& weights) const;
  Status check(TensorView rows, TensorView ids, TensorView weights, TensorView out, DType dtype);
  bool on_host() const { return backend_.memory_kind() == MemoryKind::kHost; }
  // The same values in the device's memory.
  Tensor on_device(const Tensor& host) {
    Tensor copy = backend_.allocate_tensor(host.view.dtype, host.view.shape);
    backend_.upload_and_wait(host.view.data, copy.view);
    return copy;
  }

  CommWorld& world_;
  Backend& backend_;
  const ExchangeBenchOptions& options_;
  Topology topology_;
  ModelComms comms_;
  std::unique_ptr<Stream> stream_;
  Stopwatch stopwatch_;
  nlohmann::ordered_json results_;
};

void ExchangeBench::print_head() const {
  if (options_.json || world_.rank() != 0) return;
  fmt::print("{} ranks, rows of {}, {} experts, top {}, median of {}\n", world_.size(), options_.hidden,
             options_.num_experts, options_.top_k, options_.rounds);
  fmt::print("{:>9} {:>5} {:>6} {:>10} {:>12} {:>7} {:>8}\n", "what", "dtype", "rows", "us", "bytes sent", "GB/s",
             "of MPI");
}

double ExchangeBench::slowest(double seconds) {
  double most = 0;
  for (const auto& bytes : world_.host().all_gather(std::as_bytes(std::span(&seconds, 1)))) {
    double theirs = 0;
    std::memcpy(&theirs, bytes.data(), sizeof(theirs));
    most = std::max(most, theirs);
  }
  return most;
}

// Every round calls each line once; the first is for warming up.
void ExchangeBench::time_in_turns(std::vector<Line>& lines) {
  for (int round = -1; round < options_.rounds; ++round) {
    for (Line& line : lines) {
      world_.host().barrier();
      const double seconds = slowest(stopwatch_.time([&] {
        line.call();
        world_.wait(*stream_);
      }));
      if (round >= 0) line.seconds.push_back(seconds);
    }
  }
}

void ExchangeBench::report(const Line& line, int64_t rows, DType dtype, double against_mpi) {
  if (world_.rank() != 0) return;
  const double seconds = median(line.seconds);
  const auto [least, most] = std::minmax_element(line.seconds.begin(), line.seconds.end());
  if (!options_.json) {
    fmt::print("{:>9} {:>5} {:>6} {:>10.1f} {:>12.0f} {:>7.2f} {:>8}\n", line.what, dtype_name(dtype), rows,
               seconds * 1e6, line.bytes, line.bytes / seconds / 1e9,
               against_mpi > 0 ? fmt::format("{:.2f}", against_mpi) : "");
    std::fflush(stdout);
    return;
  }
  results_.push_back({{"what", line.what},
                      {"dtype", dtype_name(dtype)},
                      {"rows", rows},
                      {"us", seconds * 1e6},
                      {"us_least", *least * 1e6},
                      {"us_most", *most * 1e6},
                      {"bytes_sent", line.bytes},
                      {"gb_s", line.bytes / seconds / 1e9}});
  if (against_mpi > 0) results_.back()["of_mpi"] = against_mpi;
}

void ExchangeBench::measure_transport(int64_t rows, DType dtype) {
  const Tensor filled = Tensor::host(dtype, {rows, options_.hidden});
  std::memset(filled.view.data, world_.rank() + 1, static_cast<size_t>(filled.view.num_bytes()));
  const Tensor send = on_device(filled);
  const Tensor receive = backend_.allocate_tensor(dtype, {rows, options_.hidden});
  std::vector<int64_t> counts(static_cast<size_t>(world_.size()), rows / world_.size()), bytes;
  for (const int64_t count : counts) bytes.push_back(count * options_.hidden * dtype_size(dtype));
  const int64_t total = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  const double sent = static_cast<double>(bytes[0]) * (world_.size() - 1);
  std::vector<Line> lines = {{"transport",
                              [&] {
                                comms_.experts->all_to_all_v(send.view.slice_rows(0, total), counts,
                                                             receive.view.slice_rows(0, total), counts, *stream_);
                              },
                              {},
                              sent}};
  if (on_host()) {
    lines.push_back(
        {"alltoallv", [&] { mpi_all_to_all_v(send.buffer.data(), bytes, receive.buffer.data(), bytes); }, {}, sent});
  }
  time_in_turns(lines);
  if (on_host()) report(lines[1], rows, dtype, 0);
  report(lines[0], rows, dtype, on_host() ? median(lines[1].seconds) / median(lines[0].seconds) : 0);
}

void ExchangeBench::route(int64_t rows, Tensor& ids, Tensor& weights) const {
  std::minstd_rand random(static_cast<uint32_t>(rows * 64 + world_.rank() + 1));
  std::vector<int32_t> deck(static_cast<size_t>(options_.num_experts));
  std::iota(deck.begin(), deck.end(), 0);
  for (int64_t row = 0; row < rows; ++row) {
    std::shuffle(deck.begin(), deck.end(), random);
    std::copy_n(deck.begin(), options_.top_k, ids.view.as<int32_t>() + row * options_.top_k);
  }
  for (int64_t i = 0; i < rows * options_.top_k; ++i) {
    weights.view.as<float>()[i] = static_cast<float>(1 + random() % 1000) / 1000;
  }
}

// Experts that give back what they get make each row of `out` the sum of its rounded products.
Status ExchangeBench::check(TensorView rows, TensorView ids, TensorView weights, TensorView out, DType dtype) {
  const auto rounded = [&](float value) { return dtype == DType::kBF16 ? bf16_to_f32(f32_to_bf16(value)) : value; };
  for (int64_t row = 0; row < rows.rows(); ++row) {
    std::map<int32_t, float> weight_of;  // by expert, ascending
    for (int64_t j = row * options_.top_k; j < (row + 1) * options_.top_k; ++j) {
      weight_of[ids.as<int32_t>()[j]] = weights.as<float>()[j];
    }
    for (int64_t i = row * options_.hidden; i < (row + 1) * options_.hidden; ++i) {
      float sum = 0;
      for (const auto& [expert, weight] : weight_of) sum += rounded(weight * rounded(rows.as<float>()[i]));
      if (out.as<float>()[i] == rounded(sum)) continue;
      return failed("rank {}: row {} of {} came home wrong", world_.rank(), row, rows.rows());
    }
  }
  return ok_status();
}

Status ExchangeBench::measure_exchange(int64_t rows, DType dtype) {
  const ExchangeShape shape{options_.num_experts,
                            options_.top_k,
                            options_.hidden,
                            rows,
                            place_experts_linear(options_.num_experts, topology_.ep),
                            dtype};
  AllToAllExpertExchange exchange(backend_, comms_, topology_, shape);
  const Tensor x = random_tensor({rows, options_.hidden}, static_cast<uint32_t>(world_.rank() + 1));
  const Tensor rows_here = on_device(x);
  const Tensor out = backend_.allocate_tensor(DType::kF32, {rows, options_.hidden});
  const Tensor y = backend_.allocate_tensor(DType::kF32, {exchange.max_assignments(), options_.hidden});
  Tensor ids = Tensor::host(DType::kI32, {rows, options_.top_k});
  Tensor weights = Tensor::host(DType::kF32, {rows, options_.top_k});
  route(rows, ids, weights);
  const Tensor ids_here = on_device(ids), weights_here = on_device(weights);
  Route route;
  const auto sent = [&](Phase phase) {
    return static_cast<double>(world_.progress().totals()[static_cast<size_t>(phase)].bytes_sent);
  };
  const std::vector<GroupRows> groups(static_cast<size_t>(world_.size()), {rows, {}});
  StepRows step;
  StepRowsMaker(topology_, world_.rank()).make_all(RowLayoutKind::kSliced, groups, step);
  const double before_dispatch = sent(Phase::kDispatch), before_combine = sent(Phase::kCombine);
  const auto dispatch = [&] {
    route = exchange.dispatch(step, {rows_here.view, ids_here.view, weights_here.view}, *stream_);
  };
  const auto combine = [&] { exchange.combine(step, route, y.view, out.view, *stream_); };
  dispatch();
  int32_t num_assignments = 0;
  backend_.download(route.groups.offsets.slice_rows(route.groups.offsets.rows() - 1, 1), &num_assignments, *stream_);
  world_.wait(*stream_);
  backend_.gather_rows(route.rows, route.groups.assignment_row.slice_rows(0, num_assignments),
                       y.view.slice_rows(0, num_assignments), *stream_);
  combine();
  const Tensor home = Tensor::host(DType::kF32, {rows, options_.hidden});
  backend_.download(out.view, home.view.data, *stream_);
  world_.wait(*stream_);
  std::vector<Line> lines = {{"dispatch", dispatch, {}, sent(Phase::kDispatch) - before_dispatch},
                             {"combine", combine, {}, sent(Phase::kCombine) - before_combine}};
  OCTET_RETURN_IF_ERROR(agree(world_, check(x.view, ids.view, weights.view, home.view, dtype)));
  time_in_turns(lines);
  for (const Line& line : lines) report(line, rows, dtype, 0);
  return ok_status();
}

}  // namespace

Status run_exchange_bench(CommWorld& world, Backend& backend, const ExchangeBenchOptions& options) {
  if (world.size() < 2) return invalid_input("an exchange needs at least two ranks: mpirun -n 2, or octet run");
  if (world.size() > options.num_experts) return invalid_input("more ranks than {} experts", options.num_experts);
  return ExchangeBench(world, backend, options).run();
}

}  // namespace octet
