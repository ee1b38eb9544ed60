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
  for (const Int8Ceiling& int8 : c.int8) {
    text += fmt::format(", int8 by {} {:.0f} GOP/s", int8.instructions, int8.operations_per_second / 1e9);
  }
  return text;
}

}  // namespace

Finding measure_ceilings(std::string_view isa_name) {
  const auto isa = find_isa(isa_name);
  if (!isa.ok()) return {"speed", Grade::kMissing, "nothing to measure with", isa.status().message(), {}};
  Finding finding{.topic = "speed", .facts = {{"measured", nlohmann::ordered_json::array()}}};
  for (const int threads : {1, num_available_cpus()}) {
    ThreadPool pool(threads);
    CeilingProbe probe(*isa, pool, BenchClock::kWall, kProbeBytes);
    const Ceilings ceilings = median_ceilings(probe, kRounds);
    if (!finding.text.empty()) finding.text += "; ";
    finding.text += fmt::format("{} thread{}: {}", threads, threads > 1 ? "s" : "", ceilings_text(ceilings));
    finding.facts["measured"].push_back(ceilings_json(ceilings, threads));
    if (num_available_cpus() == 1) break;
  }
  return finding;
}

}  // namespace octet
