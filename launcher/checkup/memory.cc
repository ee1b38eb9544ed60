#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

#include "launcher/checkup/checkup.h"
#include "runtime/base/host_limits.h"
#include "runtime/base/human_bytes.h"

namespace octet {
namespace {

Finding memory(const KernelFiles& files) {
  const int64_t total = files.field_bytes("proc/meminfo", "MemTotal").value_or(0);
  const int64_t available = tightest_memory(files).value_or(MemoryBound()).available;
  const MemoryBound lowest = lowest_memory_limit(files).value_or(MemoryBound());
  Finding finding{.topic = "memory",
                  .text = fmt::format("{}, {} available", human_bytes(total), human_bytes(available)),
                  .facts = {{"total_bytes", total}, {"available_bytes", available}, {"limit_bytes", lowest.limit}}};
  if (lowest.limit < total) {
    finding.grade = Grade::kHint;
    finding.text += fmt::format("; {} allows {}", lowest.name, human_bytes(lowest.limit));
    finding.remedy = "weights, --kv-cache and working memory are kept within it (octet plan): raise it for more";
  }
  return finding;
}

// Weights and KV pages are in large buffers that ask for them (madvise).
Finding huge_pages(const KernelFiles& files) {
  const std::string modes = files.line("sys/kernel/mm/transparent_hugepage/enabled").value_or("[never]");
  const size_t begin = modes.find('[');
  const size_t end = modes.find(']');
  const std::string mode = begin < end && end != std::string::npos ? modes.substr(begin + 1, end - begin - 1) : modes;
  Finding finding{.topic = "huge pages", .text = "transparent: " + mode, .facts = {{"transparent", mode}}};
  if (mode == "never") {
    finding.grade = Grade::kHint;
    finding.remedy =
        "reading weights misses the TLB more often: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled";
  }
  return finding;
}

// Ranks of one host (Open MPI, NCCL) meet in it. Containers have 64 MB unless they are told otherwise.
Finding shared_memory(const KernelFiles& files) {
  constexpr int64_t kPlenty = int64_t{512} << 20;
  struct statvfs room {};
  if (statvfs(files.path("dev/shm").c_str(), &room) != 0) {
    return {"shared memory", Grade::kMissing, "there is no /dev/shm",
            "mount a tmpfs there, for ranks of one host to meet in"};
  }
  const auto free = static_cast<int64_t>(room.f_bavail * room.f_frsize);
  Finding finding{.topic = "shared memory",
                  .text = fmt::format("{} free in /dev/shm", human_bytes(free)),
                  .facts = {{"free_bytes", free}}};
  if (free < kPlenty) {
    finding.grade = Grade::kHint;
    finding.remedy = "ranks of one host meet there: give the container more (docker run --shm-size 1g)";
  }
  return finding;
}

// Networks and GPUs copy from memory that is pinned.
Finding locked_memory() {
  rlimit limit{};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  if (limit.rlim_cur == RLIM_INFINITY)
    return {.topic = "locked memory", .text = "no limit", .facts = {{"limit_bytes", nullptr}}};
  const auto bytes = static_cast<int64_t>(limit.rlim_cur);
  return {.topic = "locked memory",
          .text = fmt::format("{} a process", human_bytes(bytes)),
          .remedy = "InfiniBand needs more: ulimit -l unlimited (/etc/security/limits.conf: memlock)",
          .facts = {{"limit_bytes", bytes}}};
}

}  // namespace

Findings check_memory(const KernelFiles& files) {
  return {memory(files), huge_pages(files), shared_memory(files), locked_memory()};
}

}  // namespace octet
