// What memory and processors there are, as trees of kernel files of other machines tell it, and as this one does.
#include "runtime/base/host_limits.h"

#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/base/temp_folder.h"

namespace octet {
namespace {

using ::testing::Contains;
using ::testing::Field;

constexpr int64_t kMegabyte = int64_t{1} << 20;

class HostLimitsTest : public ::testing::Test {
 protected:
  HostLimitsTest() { put("proc/meminfo", "MemTotal:       16777216 kB\nMemAvailable:   8388608 kB"); }

  void put(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories((root_ / path).parent_path());
    write_file(root_ / path, text + "\n");
  }
  KernelFiles files() const { return KernelFiles(root_ / ""); }
  int64_t available(int num_processes = 1) const { return tightest_memory(files(), num_processes)->available; }
  std::string tightest() const { return tightest_memory(files())->name; }

  const TempFolder root_;
};

TEST_F(HostLimitsTest, WithoutLimitsItIsTheMachine) {
  EXPECT_EQ(available(), 8192 * kMegabyte);
  EXPECT_EQ(tightest(), "this machine");
  EXPECT_EQ(available(4), 2048 * kMegabyte);
  EXPECT_EQ(lowest_memory_limit(files())->limit, 16384 * kMegabyte);
  EXPECT_EQ(tightest_memory(KernelFiles(root_ / "elsewhere")), std::nullopt);
}

TEST_F(HostLimitsTest, WhatAGroupHoldsIsTakenFromItsLimitButForFilesItCanDrop) {
  put("proc/self/cgroup", "0::/batch/job");
  put("sys/fs/cgroup/batch/job/memory.max", "1073741824");
  put("sys/fs/cgroup/batch/job/memory.current", "838860800");
  EXPECT_EQ(available(), 224 * kMegabyte);
  put("sys/fs/cgroup/batch/job/memory.stat", "anon 1\nfile 3\ninactive_file 209715200\nactive_file 104857600");
  EXPECT_EQ(available(), 524 * kMegabyte);
  EXPECT_EQ(available(2), 262 * kMegabyte);
  EXPECT_EQ(tightest(), "control group /batch/job");
  put("sys/fs/cgroup/batch/job/memory.current", "2147483648");  // the limit was lowered
  EXPECT_EQ(available(), 0);
}

TEST_F(HostLimitsTest, AParentsOtherChildrenCount) {
  put("proc/self/cgroup", "0::/batch/job");
  put("sys/fs/cgroup/batch/job/memory.max", "max");
  put("sys/fs/cgroup/batch/memory.max", "1073741824");
  put("sys/fs/cgroup/batch/memory.current", "1048576000");
  EXPECT_EQ(available(), 24 * kMegabyte);
  EXPECT_EQ(tightest(), "control group /batch");
  put("sys/fs/cgroup/batch/job/memory.high", "10485760");
  EXPECT_EQ(available(), 10 * kMegabyte);
}

TEST_F(HostLimitsTest, Version1IsReadWhereItIsMounted) {
  put("proc/self/cgroup", "4:memory:/docker/x\n2:cpu,cpuacct:/docker/x");
  put("proc/self/mountinfo",
      "30 25 0:26 /docker/x /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory\n"
      "31 25 0:27 /docker/x /cg/both ro,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct");
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824");
  put("sys/fs/cgroup/memory/memory.usage_in_bytes", "1048576000");
  put("sys/fs/cgroup/memory/memory.stat", "inactive_file 5\ntotal_inactive_file 52428800\ntotal_active_file 0");
  put("cg/both/cpu.cfs_quota_us", "250000");
  put("cg/both/cpu.cfs_period_us", "100000");
  EXPECT_EQ(available(), 74 * kMegabyte);
  EXPECT_EQ(cpu_quota(files()), 2.5);
}

TEST_F(HostLimitsTest, Version2BesideVersion1IsReadWhereItIsMounted) {
  put("proc/self/cgroup", "4:memory:/\n0::/user/me");
  put("proc/self/mountinfo",
      "30 25 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n30 25 0:26 / /sys/fs/cgroup/memory rw - cgroup "
      "cgroup "
      "rw,memory");
  put("sys/fs/cgroup/unified/user/memory.max", "5242880");
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712");  // none
  EXPECT_EQ(available(), 5 * kMegabyte);
  EXPECT_EQ(tightest(), "control group /user");
}

TEST_F(HostLimitsTest, ResourceLimitsAreOfEachProcess) {
  put("proc/self/limits",
      "Limit                     Soft Limit           Hard Limit           Units     \n"
      "Max data size             unlimited            unlimited            bytes     \n"
      "Max address space         1073741824           unlimited            bytes     ");
  put("proc/self/status", "VmPeak:\t  999999 kB\nVmSize:\t  524288 kB\nVmData:\t  102400 kB");
  EXPECT_EQ(available(), 512 * kMegabyte);
  EXPECT_EQ(available(8), 512 * kMegabyte);
  EXPECT_EQ(tightest(), "ulimit -v");
  put("proc/self/limits", "Max data size             209715200            unlimited            bytes     ");
  EXPECT_EQ(available(), 100 * kMegabyte);
  EXPECT_EQ(tightest(), "ulimit -d");
}

TEST_F(HostLimitsTest, WithoutOvercommitWhatIsPromisedCounts) {
  put("proc/meminfo",
      "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\nCommitLimit: 4194304 kB\nCommitted_AS: 3145728 kB");
  put("proc/sys/vm/overcommit_memory", "0");
  EXPECT_EQ(available(), 8192 * kMegabyte);
  put("proc/sys/vm/overcommit_memory", "2");
  EXPECT_EQ(available(), 1024 * kMegabyte);
}

TEST_F(HostLimitsTest, ThreadsStayWithinTheQuota) {
  const auto allowed = static_cast<int>(allowed_cpus().size());
  put("proc/self/cgroup", "0::/a/b");
  EXPECT_EQ(num_available_cpus(files()), allowed);
  put("sys/fs/cgroup/a/b/cpu.max", "max 100000");
  EXPECT_EQ(num_available_cpus(files()), allowed);
  put("sys/fs/cgroup/a/cpu.max", "190000 100000");
  EXPECT_EQ(num_available_cpus(files()), 1);
  put("sys/fs/cgroup/a/cpu.max", "20000 100000");
  EXPECT_EQ(num_available_cpus(files()), 1);
  put("sys/fs/cgroup/a/cpu.max", "204800000 100000");
  EXPECT_EQ(num_available_cpus(files()), allowed);
}

// Ends with 0 if this process is told of its own limit, which has room for what sanitizers map.
int look_at_own_limit() {
  constexpr int64_t kBytes = int64_t{1} << 50;
  const rlimit limit{kBytes, RLIM_INFINITY};
  if (setrlimit(RLIMIT_AS, &limit) != 0) return 2;
  const auto bounds = memory_bounds(KernelFiles());
  const auto own = std::ranges::find(bounds, "ulimit -v", &MemoryBound::name);
  return own != bounds.end() && own->limit == kBytes && own->available < own->limit && own->available > 0 ? 0 : 1;
}

TEST(HostLimits, ThisProcessIsToldOfItsOwnLimits) {
  EXPECT_THAT(memory_bounds(KernelFiles()), Contains(Field(&MemoryBound::name, "this machine")));
  const pid_t child = fork();
  if (child == 0) _exit(look_at_own_limit());
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace octet
