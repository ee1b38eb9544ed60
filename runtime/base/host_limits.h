// What of this machine a process may use: memory and processors, as the machine, control groups (containers, batch
// systems), resource limits and the affinity mask allow. Read anew at every call: limits change while a process runs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/kernel_files.h"

namespace octet {

// Something that bounds the memory of this process.
struct MemoryBound {
  std::string name;             // "this machine", "control group /batch/job", "ulimit -v"
  int64_t limit = 0;            // bytes
  int64_t available = 0;        // bytes of it that can still be had, without swapping
  bool is_process_own = false;  // not shared with other processes

  bool operator==(const MemoryBound&) const = default;
};

// All of them, the machine's first. A control group is bound by its parents, too, so each of these is listed.
std::vector<MemoryBound> memory_bounds(const KernelFiles& files);

// The bound that leaves the least to each of `num_processes` alike that are on this machine, under the same limits;
// `available` is one's share. Nothing where the kernel does not say.
std::optional<MemoryBound> tightest_memory(const KernelFiles& files, int num_processes = 1);

// The bound with the lowest limit, whatever is left of it; nothing where the kernel does not say.
std::optional<MemoryBound> lowest_memory_limit(const KernelFiles& files);

// CPUs' time that control groups allow, as 1.5; nothing where there is no limit.
std::optional<double> cpu_quota(const KernelFiles& files);

// Numbers of the CPUs that the affinity mask allows.
std::vector<int> allowed_cpus();

// How many threads of this process can run at the same time for as long as they like: one for each allowed CPU, and no
// more than the quota, for a thread that is stopped by it in the middle of a step holds up all others. At least one.
int num_available_cpus(const KernelFiles& files = KernelFiles());

}  // namespace octet
