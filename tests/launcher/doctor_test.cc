// octet doctor: what it makes of the machines that its checks meet.
#include <map>

#include "launcher/checkup/checkup.h"
#include "runtime/base/host_limits.h"
#include "tests/launcher/run_octet.h"

namespace octet::testing {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Eq;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::optional<int64_t> memory_limit(const KernelFiles& files) {
  const auto lowest = lowest_memory_limit(files);
  return lowest ? std::optional(lowest->limit) : std::nullopt;
}

class DoctorTest : public ::testing::Test {
 protected:
  // A file of the machine's kernel.
  void put(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root_ / path).parent_path());
    write_file(root_ / path, text + "\n");
  }
  KernelFiles files() const { return KernelFiles(root_ / ""); }

  TempFolder root_;
};

const Finding& about(const Findings& findings, const std::string& topic) {
  for (const Finding& finding : findings) {
    if (finding.topic == topic) return finding;
  }
  ADD_FAILURE() << "nothing about " << topic;
  static const Finding kNone;
  return kNone;
}

TEST_F(DoctorTest, MemoryIsWhatTheTightestControlGroupAllows) {
  EXPECT_EQ(memory_limit(files()), std::nullopt);
  put("proc/meminfo", "MemTotal:       16384 kB\nMemFree: 1 kB");
  EXPECT_EQ(memory_limit(files()), 16384 * 1024);
  put("proc/self/cgroup", "0::/batch/job");
  put("sys/fs/cgroup/batch/job/memory.max", "max");
  EXPECT_EQ(memory_limit(files()), 16384 * 1024);
  put("sys/fs/cgroup/batch/memory.max", "5000000");
  EXPECT_EQ(memory_limit(files()), 5000000);
  put("sys/fs/cgroup/memory.max", "4000000");  // as a container sees its own
  EXPECT_EQ(memory_limit(files()), 4000000);
}

TEST_F(DoctorTest, MemoryLimitsOfVersion1AreUnderstood) {
  put("proc/meminfo", "MemTotal:       16384 kB");
  put("proc/self/cgroup", "4:hugetlb:/\n3:memory:/docker/x\n2:cpu,cpuacct:/docker/x");
  put("sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "9223372036854771712");
  put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1");
  put("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000");
  EXPECT_EQ(memory_limit(files()), 16384 * 1024);
  EXPECT_EQ(cpu_quota(files()), std::nullopt);
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000");
  put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000");
  EXPECT_EQ(memory_limit(files()), 1000000);
  EXPECT_EQ(cpu_quota(files()), 0.5);
  const Finding memory = about(check_memory(files()), "memory");
  EXPECT_EQ(memory.grade, Grade::kHint);
  EXPECT_THAT(memory.text, HasSubstr("control group / allows 1.0 MB"));
}

TEST_F(DoctorTest, AQuotaBelowTheThreadsIsToldWithTheNumberThatFits) {
  put("proc/self/cgroup", "0::/");
  put("sys/fs/cgroup/cpu.max", "max 100000");
  EXPECT_EQ(cpu_quota(files()), std::nullopt);
  EXPECT_EQ(about(check_processor(files()), "threads").grade, Grade::kGood);
  put("sys/fs/cgroup/cpu.max", "20000 100000");
  EXPECT_EQ(cpu_quota(files()), 0.2);
  const Finding threads = about(check_processor(files()), "threads");
  EXPECT_EQ(threads.grade, Grade::kHint);
  EXPECT_THAT(threads.remedy, HasSubstr("--threads 1"));
}

TEST_F(DoctorTest, InstructionSetsAreListedOutOfAllFlags) {
  put("proc/cpuinfo",
      "processor : 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2 fma avx512_bf16 amx_tile amx_bf16 f16c");
  const Findings findings = check_processor(files());
  EXPECT_EQ(about(findings, "instruction sets").facts["detected"],
            nlohmann::ordered_json({"avx2", "fma", "avx512_bf16", "amx_bf16", "f16c"}));
  EXPECT_THAT(about(findings, "processor").text, HasSubstr("Some CPU"));
}

TEST_F(DoctorTest, HugePagesThatAreOffAreAHint) {
  const std::map<std::string, Grade> grades = {{"[always] madvise never", Grade::kGood},
                                               {"always [madvise] never", Grade::kGood},
                                               {"always madvise [never]", Grade::kHint}};
  for (const auto& [modes, grade] : grades) {
    put("sys/kernel/mm/transparent_hugepage/enabled", modes);
    EXPECT_EQ(about(check_memory(files()), "huge pages").grade, grade) << modes;
  }
}

TEST_F(DoctorTest, WithoutAGpuItSaysWhatIsMissing) {
  const Findings none = check_devices(files(), {});
  EXPECT_EQ(about(none, "GPU driver").grade, Grade::kMissing);
  EXPECT_THAT(about(none, "GPU driver").text, HasSubstr("no NVIDIA GPU"));
  EXPECT_EQ(about(none, "GPU backend").grade, Grade::kMissing);
  EXPECT_EQ(about(none, "GPUs").grade, Grade::kMissing);
  put("sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de");
  put("sys/bus/pci/devices/0000:01:00.0/class", "0x0c0330");  // its USB controller
  EXPECT_THAT(about(check_devices(files(), {}), "GPU driver").text, HasSubstr("no NVIDIA GPU"));
  put("sys/bus/pci/devices/0000:01:00.0/class", "0x030200");
  EXPECT_THAT(about(check_devices(files(), {}), "GPU driver").remedy, HasSubstr("nvidia-driver"));
}

TEST_F(DoctorTest, ABuildForCpusStillSeesTheGpuOfTheMachine) {
  put("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54");
  put("proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t\t NVIDIA A100\nIRQ:   1");
  const Findings findings = check_devices(files(), {});
  EXPECT_THAT(about(findings, "GPU driver").text, HasSubstr("550.54"));
  EXPECT_THAT(about(findings, "GPUs").text, HasSubstr("NVIDIA A100"));
  EXPECT_THAT(about(findings, "GPUs").remedy, HasSubstr("CUDA"));
}

GpuFacts gpu(int major, std::vector<int> peers) {
  return {"A GPU", major, 0, 108, int64_t{80} << 30, int64_t{79} << 30, 2.0e12, std::move(peers)};
}

TEST_F(DoctorTest, GpusThatAreTooOldFullOrCutOffAreTold) {
  DeviceProbe probe{true, "12.4", "12.4", {gpu(8, {1, 2}), gpu(9, {0}), gpu(7, {0})}, ""};
  probe.gpus[1].free_bytes = int64_t{3} << 30;
  const Findings findings = check_devices(files(), probe);
  EXPECT_EQ(about(findings, "GPU 0").grade, Grade::kGood);
  EXPECT_THAT(about(findings, "GPU 0").text, HasSubstr("2000 GB/s"));
  EXPECT_EQ(about(findings, "GPU 1").grade, Grade::kHint);
  EXPECT_EQ(about(findings, "GPU 2").grade, Grade::kMissing);
  EXPECT_THAT(about(findings, "peer access").text, HasSubstr("GPUs 1, 2 do not"));
  probe.gpus = {gpu(8, {1}), gpu(8, {0})};
  EXPECT_EQ(about(check_devices(files(), probe), "peer access").grade, Grade::kGood);
}

TEST(DoctorCommandTest, TellsAboutThisMachine) {
  const Outcome outcome = run_octet({"doctor", "--no-measure", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  std::map<std::string, nlohmann::json> found;
  const auto all = nlohmann::json::parse(outcome.out);
  for (const auto& finding : all["findings"]) {
    EXPECT_TRUE(finding["facts"].is_object()) << finding;
    found[finding["topic"]] = finding;
  }
  EXPECT_THAT(found["MPI"]["facts"]["library"], HasSubstr("MPI"));
  EXPECT_EQ(found["mpirun"]["grade"], "ok") << found["mpirun"];
  EXPECT_THAT(found["instruction sets"]["facts"]["kernels"], HasSubstr("avx2"));
  EXPECT_GT(found["memory"]["facts"]["total_bytes"], 0);
  EXPECT_TRUE(found["single copy"]["facts"]["cma"].is_boolean());
  EXPECT_THAT(found, Not(Contains(::testing::Key("speed"))));
}

TEST(DoctorCommandTest, NamesTheProgramThatIsMissing) {
  const Outcome outcome = run_octet({"doctor", "--no-measure"}, {.environment = {{"PATH", "/nowhere"}}});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(lines_of(outcome.out), Contains(AllOf(HasSubstr("missing"), HasSubstr("mpirun"))));
  EXPECT_THAT(outcome.out, HasSubstr("openmpi-bin"));
}

TEST(DoctorCommandTest, MeasuresWithOneThreadAndWithAll) {
  const Finding speed = measure_ceilings();
  ASSERT_THAT(speed.facts["measured"], Not(IsEmpty()));
  for (const auto& measured : speed.facts["measured"]) {
    EXPECT_GT(measured["read_gb_s"], 0.1);
    EXPECT_GT(measured["f32_gflop_s"], 0.1);
    EXPECT_GT(measured["int8_gop_s"], 0.1);
  }
  EXPECT_EQ(speed.facts["measured"][0]["threads"], 1);
}

TEST(DoctorCommandTest, ThereIsAnInt8FigureOfEveryInstructionSet) {
  const Finding speed = measure_ceilings("avx2");
  EXPECT_THAT(speed.text, HasSubstr("int8 by avx2 "));
  EXPECT_GT(speed.facts["measured"][0]["int8_gop_s_of"]["avx2"], 0.1);
}

}  // namespace
}  // namespace octet::testing
