#include "bench/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <vector>

namespace octet {

KernelReport::KernelReport(const KernelsBenchOptions& options, const Isa& isa, CeilingProbe& probe, int num_threads)
    : options_(options), probe_(probe), stopwatch_(options.clock, num_threads) {
  json_ = {{"isa", isa.name},
           {"threads", num_threads},
           {"hidden", options.hidden},
           {"ffn", options.ffn},
           {"weights", dtype_name(options.weight_dtype)},
           {"results", nlohmann::json::array()}};
  if (options.json) return;
  fmt::print("{}, {} threads, hidden {}, ffn {}, {} weights, median of {}\n", isa.name, num_threads, options.hidden,
             options.ffn, dtype_name(options.weight_dtype), options.rounds);
  fmt::print("{:>8} {:>24} {:>10} {:>8} {:>9} {:>7}\n", "kernel", "what", "ms", "GB/s", "GFLOP/s", "bound");
}

void KernelReport::measure(const std::string& kernel, const std::string& what, const std::function<Work()>& call) {
  std::vector<double> milliseconds;
  std::vector<double> bytes;
  std::vector<double> operations;
  std::vector<double> shares;
  call();
  for (int round = 0; round < options_.rounds; ++round) {
    const Ceilings ceilings = probe_.measure();
    Work work;
    const double seconds = stopwatch_.time([&] { work = call(); });
    const double bound =
        std::max(work.bytes / ceilings.read_bytes_per_second, work.operations / ceilings.f32_operations_per_second);
    milliseconds.push_back(seconds * 1e3);
    bytes.push_back(work.bytes / seconds / 1e9);
    operations.push_back(work.operations / seconds / 1e9);
    shares.push_back(bound / seconds);
  }
  const double line[] = {median(milliseconds), median(bytes), median(operations), median(shares)};
  if (!options_.json) {
    fmt::print("{:>8} {:>24} {:>10.3f} {:>8.1f} {:>9.1f} {:>7.2f}\n", kernel, what, line[0], line[1], line[2], line[3]);
    std::fflush(stdout);
  }
  json_["results"].push_back({{"kernel", kernel},
                              {"what", what},
                              {"ms", line[0]},
                              {"gb_s", line[1]},
                              {"gflop_s", line[2]},
                              {"share_of_bound", line[3]}});
}

void KernelReport::finish() const {
  if (options_.json) fmt::print("{}\n", json_.dump(2));
}

}  // namespace octet
