#include "bench/ceilings.h"
#include "launcher/checkup/checkup.h"
#include "runtime/base/host_limits.h"

namespace octet {
namespace {

constexpr int64_t kProbeBytes = int64_t{512} << 20;
constexpr int kRounds = 5;

std::string ceilings_text(const Ceilings& c) {
  std::string text = fmt::format("read {:.1f} GB/s, multiply-add {:.0f} GFLOP/s", c.read_bytes_per_second / 1e9,
                                 c.f32_operations_per_second / 1e9);
  if (c.int8_operations_per_second > 0) text += fmt::format(", int8 {:.0f} GOP/s", c.int8_operations_per_second / 1e9);
  return text;
}

nlohmann::ordered_json ceilings_json(const Ceilings& c, int threads) {
  return {{"threads", threads},
          {"read_gb_s", c.read_bytes_per_second / 1e9},
          {"f32_gflop_s", c.f32_operations_per_second / 1e9},
          {"int8_gop_s", c.int8_operations_per_second / 1e9}};
}

}  // namespace

Finding measure_ceilings() {
  const auto isa = find_isa("");
  if (!isa.ok()) return {"speed", Grade::kMissing, "nothing to measure with", isa.status().message(), {}};
  Finding finding{.topic = "speed", .facts = {{"measured", nlohmann::ordered_json::array()}}};
  for (const int threads : {1, num_available_cpus()}) {
    ThreadPool pool(threads);
    CeilingProbe probe(isa->kernels(), pool, BenchClock::kWall, kProbeBytes);
    const Ceilings ceilings = median_ceilings(probe, kRounds);
    if (!finding.text.empty()) finding.text += "; ";
    finding.text += fmt::format("{} thread{}: {}", threads, threads > 1 ? "s" : "", ceilings_text(ceilings));
    finding.facts["measured"].push_back(ceilings_json(ceilings, threads));
    if (num_available_cpus() == 1) break;
  }
  return finding;
}

}  // namespace octet
