#include "bench/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <vector>

namespace octet {

KernelReport::KernelReport(const KernelsBenchOptions& options, const BenchDevice& device, Stream& stream)
    : options_(options), device_(device), stream_(stream), stopwatch_(options.clock, device.num_threads) {
  json_ = {{"device", device.name},
           {"hidden", options.hidden},
           {"ffn", options.ffn},
           {"weights", dtype_name(options.weight_dtype)},
           {"results", nlohmann::json::array()}};
  if (options.json) return;
  fmt::print("{}, hidden {}, ffn {}, {} weights, median of {}\n", device.name, options.hidden, options.ffn,
             dtype_name(options.weight_dtype), options.rounds);
  fmt::print("{:>8} {:>32} {:>10} {:>8} {:>9} {:>7}\n", "kernel", "what", "ms", "GB/s", "GFLOP/s", "bound");
}

double KernelReport::time(const std::function<void()>& enqueue) const {
  return options_.clock == BenchClock::kCpu ? stopwatch_.time(enqueue) : stream_.time(enqueue);
}

void KernelReport::measure(const std::string& kernel, const std::string& what, const Work& work,
                           const std::function<void()>& call, int calls) {
  std::vector<double> times;
  std::vector<double> shares;
  call();
  for (int round = 0; round < options_.rounds; ++round) {
    const std::optional<Limits> limits = device_.limits();
    const double seconds = time([&] {
                             for (int i = 0; i < calls; ++i) call();
                           }) /
                           calls;
    times.push_back(seconds);
    if (!limits) continue;
    shares.push_back(
        std::max(work.bytes / limits->read_bytes_per_second, work.operations / limits->operations_per_second) /
        seconds);
  }
  const double seconds = median(times);
  nlohmann::ordered_json line{{"kernel", kernel},
                              {"what", what},
                              {"ms", seconds * 1e3},
                              {"bytes", work.bytes},
                              {"operations", work.operations},
                              {"gb_s", work.bytes / seconds / 1e9},
                              {"gflop_s", work.operations / seconds / 1e9}};
  if (!shares.empty()) line["share_of_bound"] = median(shares);
  if (!options_.json) {
    fmt::print("{:>8} {:>32} {:>10.3f} {:>8.1f} {:>9.1f} {:>7}\n", kernel, what, seconds * 1e3,
               work.bytes / seconds / 1e9, work.operations / seconds / 1e9,
               shares.empty() ? "-" : fmt::format("{:.2f}", median(shares)));
    std::fflush(stdout);
  }
  json_["results"].push_back(std::move(line));
}

void KernelReport::finish() const {
  if (options_.json) fmt::print("{}\n", json_.dump(2));
}

}  // namespace octet
