#include "runtime/base/host_limits.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <thread>

#include "runtime/base/control_groups.h"

namespace octet {
namespace {

constexpr const char* kMeminfo = "proc/meminfo";

int64_t at_least_0(int64_t bytes) { return std::max<int64_t>(bytes, 0); }

void add_machine(const KernelFiles& files, std::vector<MemoryBound>& bounds) {
  const auto total = files.field_bytes(kMeminfo, "MemTotal");
  if (!total) return;
  bounds.push_back({"this machine", *total, files.field_bytes(kMeminfo, "MemAvailable").value_or(*total)});
  constexpr int64_t kNeverOvercommit = 2;  // then what is mapped counts, touched or not
  if (files.number("proc/sys/vm/overcommit_memory") != kNeverOvercommit) return;
  const auto limit = files.field_bytes(kMeminfo, "CommitLimit");
  const auto committed = files.field_bytes(kMeminfo, "Committed_AS");
  if (limit && committed) bounds.push_back({"vm.overcommit_memory 2", *limit, at_least_0(*limit - *committed)});
}

// What a group holds without using it: the kernel drops cached pages of files before it refuses memory.
int64_t reclaimable(const KernelFiles& files, const std::string& stat, const std::string& prefix) {
  int64_t bytes = 0;
  for (const char* name : {"inactive_file", "active_file", "slab_reclaimable"})
    bytes += files.entry(stat, prefix + name).value_or(0);
  return bytes;
}

void add_group(const KernelFiles& files, const ControlGroup& group, std::vector<MemoryBound>& bounds) {
  const auto add = [&](const char* limit_file, const char* usage_file, const char* stat_prefix) {
    const auto limit = files.number(group.folder + "/" + limit_file);
    if (!limit) return;
    const int64_t usage = files.number(group.folder + "/" + usage_file).value_or(0);
    const int64_t used = at_least_0(usage - reclaimable(files, group.folder + "/memory.stat", stat_prefix));
    bounds.push_back({"control group " + group.name, *limit, at_least_0(*limit - used)});
  };
  add("memory.max", "memory.current", "");
  add("memory.high", "memory.current", "");  // beyond it, everything is slowed down until it is below
  add("memory.limit_in_bytes", "memory.usage_in_bytes", "total_");
}

// "Max address space         unlimited            unlimited            bytes"
void add_resource_limit(const KernelFiles& files, const std::string& title, const char* used, const char* name,
                        std::vector<MemoryBound>& bounds) {
  for (const std::string& line : files.lines("proc/self/limits")) {
    if (!line.starts_with(title)) continue;
    std::istringstream soft(line.substr(title.size()));
    int64_t limit = 0;
    if (!(soft >> limit)) return;
    const int64_t taken = files.field_bytes("proc/self/status", used).value_or(0);
    bounds.push_back({name, limit, at_least_0(limit - taken), true});
  }
}

}  // namespace

std::vector<MemoryBound> memory_bounds(const KernelFiles& files) {
  std::vector<MemoryBound> bounds;
  add_machine(files, bounds);
  for (const ControlGroup& group : control_groups(files, "memory")) add_group(files, group, bounds);
  add_resource_limit(files, "Max address space", "VmSize", "ulimit -v", bounds);
  add_resource_limit(files, "Max data size", "VmData", "ulimit -d", bounds);
  return bounds;
}

std::optional<MemoryBound> tightest_memory(const KernelFiles& files, int num_processes) {
  std::vector<MemoryBound> bounds = memory_bounds(files);
  for (MemoryBound& bound : bounds) {
    if (!bound.is_process_own) bound.available /= num_processes;
  }
  const auto tightest = std::ranges::min_element(bounds, {}, &MemoryBound::available);
  if (tightest == bounds.end()) return std::nullopt;
  return *tightest;
}

std::optional<MemoryBound> lowest_memory_limit(const KernelFiles& files) {
  const std::vector<MemoryBound> bounds = memory_bounds(files);
  const auto lowest = std::ranges::min_element(bounds, {}, &MemoryBound::limit);
  if (lowest == bounds.end()) return std::nullopt;
  return *lowest;
}

std::optional<double> cpu_quota(const KernelFiles& files) {
  std::optional<double> least;
  const auto take = [&](double quota, double period) {
    if (quota > 0 && period > 0 && (!least || quota / period < *least)) least = quota / period;
  };
  for (const ControlGroup& group : control_groups(files, "cpu")) {
    std::istringstream both(files.line(group.folder + "/cpu.max").value_or(""));
    if (double quota = 0, period = 0; both >> quota >> period) take(quota, period);
    take(static_cast<double>(files.number(group.folder + "/cpu.cfs_quota_us").value_or(-1)),
         static_cast<double>(files.number(group.folder + "/cpu.cfs_period_us").value_or(-1)));
  }
  return least;
}

std::vector<int> allowed_cpus() {
  std::vector<int> cpus;
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof(mask), &mask) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &mask)) cpus.push_back(cpu);
    }
    return cpus;
  }
  // More CPUs than the mask holds.
  for (int cpu = 0; cpu < std::max(1, static_cast<int>(std::thread::hardware_concurrency())); ++cpu)
    cpus.push_back(cpu);
  return cpus;
}

int num_available_cpus(const KernelFiles& files) {
  const auto allowed = static_cast<int>(allowed_cpus().size());
  const auto quota = cpu_quota(files);
  return quota ? std::clamp(static_cast<int>(std::floor(*quota)), 1, allowed) : allowed;
}

}  // namespace octet
