#include <fmt/ranges.h>

#include <algorithm>
#include <sstream>

#include "kernels/cpu/isa.h"
#include "launcher/checkup/checkup.h"
#include "runtime/base/host_limits.h"

namespace octet {
namespace {

// Instruction sets for products of numbers, as /proc/cpuinfo names them.
constexpr std::string_view kOfInterest[] = {"f16c",        "fma",      "avx2",        "avx_vnni",
                                            "avx512f",     "avx512bw", "avx512_vnni", "avx512_bf16",
                                            "avx512_fp16", "amx_int8", "amx_bf16"};

Finding processor(const KernelFiles& files) {
  const auto field = [&](const char* name) { return files.field("proc/cpuinfo", name).value_or("unknown"); };
  const size_t nodes = std::max<size_t>(files.names("sys/devices/system/node", "node").size(), 1);
  const std::string name = field("model name");
  return {.topic = "processor",
          .text = fmt::format("{} (family {}, model {}), {} NUMA node{}", name, field("cpu family"), field("model"),
                              nodes, nodes > 1 ? "s" : ""),
          .remedy = nodes > 1 ? "one rank a NUMA node keeps each rank's weights in memory of its own" : "",
          .facts = {{"name", name}, {"numa_nodes", nodes}}};
}

Finding instruction_sets(const KernelFiles& files) {
  std::istringstream flags(files.field("proc/cpuinfo", "flags").value_or(""));
  std::vector<std::string> found;
  for (std::string flag; flags >> flag;) {
    if (std::ranges::find(kOfInterest, flag) != std::end(kOfInterest)) found.push_back(flag);
  }
  const auto best = find_isa("");
  Facts facts{{"detected", found}, {"kernels", supported_isas()}};
  if (!best.ok()) {
    return {"instruction sets", Grade::kMissing,
            fmt::format("{}; no kernels for this processor", fmt::join(found, " ")),
            "a processor with AVX2, FMA and F16C, or --device reference, which is slow", std::move(facts)};
  }
  facts["used"] = best->name;
  return {.topic = "instruction sets",
          .text = fmt::format("{}; the kernels use {}", fmt::join(found, " "), best->name),
          .facts = std::move(facts)};
}

Finding threads(const KernelFiles& files) {
  const auto available = static_cast<int>(allowed_cpus().size());
  const auto online = static_cast<int>(std::ranges::count_if(
      files.lines("proc/cpuinfo"), [](const std::string& line) { return line.starts_with("processor"); }));
  const auto quota = cpu_quota(files);
  Finding finding{.topic = "threads",
                  .text = fmt::format("{} of {} CPUs may be used", available, std::max(online, available)),
                  .facts = {{"cpus", std::max(online, available)}, {"affinity", available}}};
  if (quota) {
    finding.text += fmt::format(", for {:.1f} CPUs' time (control group)", *quota);
    finding.facts["quota"] = *quota;
  }
  if (quota && *quota < available - 0.5) {
    finding.grade = Grade::kHint;
    finding.remedy = fmt::format(
        "more threads would be stopped in the middle of a step, so the default is --threads {}; raise the "
        "quota for more",
        num_available_cpus(files));
  } else if (available < online) {
    finding.remedy = "an affinity mask (taskset, mpirun --bind-to, a cpuset) keeps the rest away";
  }
  return finding;
}

// Absent on most virtual machines, whose clock is the host's.
std::optional<Finding> clock(const KernelFiles& files) {
  const auto governor = files.line("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  if (!governor) return std::nullopt;
  const bool slow =
      *governor == "powersave" && files.line("sys/devices/system/cpu/cpu0/cpufreq/scaling_driver") != "intel_pstate";
  return Finding{"clock",
                 slow ? Grade::kHint : Grade::kGood,
                 fmt::format("governor {}", *governor),
                 slow ? "cpupower frequency-set -g performance" : "",
                 {{"governor", *governor}}};
}

}  // namespace

Findings check_processor(const KernelFiles& files) {
  Findings findings = {processor(files), instruction_sets(files), threads(files)};
  if (auto finding = clock(files)) findings.push_back(std::move(*finding));
  return findings;
}

}  // namespace octet
