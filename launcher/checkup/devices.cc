#include <dlfcn.h>
#include <fmt/ranges.h>

#include "launcher/checkup/checkup.h"
#include "launcher/output.h"
#include "runtime/base/human_bytes.h"

namespace octet {
namespace {

constexpr int kOldestMajor = 8;  // of the compute capabilities that the kernels are built for

std::string text_of(int64_t bytes) { return human_bytes(static_cast<double>(bytes)); }

// What NVIDIA's kernel driver tells without any library: the names of its GPUs.
std::vector<std::string> gpus_of_the_kernel(const KernelFiles& files) {
  std::vector<std::string> names;
  for (const std::string& bus : files.names("proc/driver/nvidia/gpus", "")) {
    names.push_back(
        files.field("proc/driver/nvidia/gpus/" + bus + "/information", "Model").value_or("a GPU at " + bus));
  }
  return names;
}

// Whether the PCI bus has a display or compute device of NVIDIA's, driver or not.
bool gpu_on_the_bus(const KernelFiles& files) {
  for (const std::string& device : files.names("sys/bus/pci/devices", "")) {
    const std::string folder = "sys/bus/pci/devices/" + device;
    if (files.line(folder + "/vendor") == "0x10de" && files.line(folder + "/class").value_or("").starts_with("0x03")) {
      return true;
    }
  }
  return false;
}

Finding driver(const KernelFiles& files, const DeviceProbe& probe) {
  const auto module = files.line("proc/driver/nvidia/version");
  Finding finding{.topic = "GPU driver", .facts = {{"kernel_module", nullptr}, {"cuda", nullptr}}};
  if (!probe.driver_version.empty()) finding.facts["cuda"] = probe.driver_version;
  if (module) finding.facts["kernel_module"] = *module;
  if (!module && probe.driver_version.empty()) {
    finding.grade = Grade::kMissing;
    const bool has_gpu = gpu_on_the_bus(files);
    finding.text = has_gpu ? "a GPU of NVIDIA's, but no driver for it" : "no NVIDIA GPU and no driver for one";
    finding.remedy = has_gpu
                         ? "apt-get install nvidia-driver (Debian: of its non-free part)"
                         : "everything runs on the CPU; GPUs of the host reach a container by docker run --gpus all";
    return finding;
  }
  finding.text = module.value_or("no kernel module is visible");
  if (!probe.driver_version.empty()) finding.text += fmt::format("; serves CUDA {}", probe.driver_version);
  return finding;
}

Finding build(const DeviceProbe& probe) {
  if (!probe.built_in) {
    return {"GPU backend",
            Grade::kMissing,
            "this build is for CPUs only",
            "a build made where the CUDA toolkit is installed has one",
            {{"built_in", false}}};
  }
  return {.topic = "GPU backend",
          .text = fmt::format("built with CUDA {}", probe.library_version),
          .facts = {{"built_in", true}, {"cuda", probe.library_version}}};
}

Finding gpu(size_t index, const GpuFacts& g) {
  Finding finding{
      .topic = fmt::format("GPU {}", index),
      .text = fmt::format("{}, compute capability {}.{}, {} multiprocessors, {} of {} free", g.name, g.compute_major,
                          g.compute_minor, g.num_multiprocessors, text_of(g.free_bytes), text_of(g.memory_bytes)),
      .facts = {{"name", g.name},
                {"compute_capability", fmt::format("{}.{}", g.compute_major, g.compute_minor)},
                {"multiprocessors", g.num_multiprocessors},
                {"memory_bytes", g.memory_bytes},
                {"free_bytes", g.free_bytes},
                {"peers", g.peers}}};
  if (g.read_bytes_per_second > 0) {
    finding.text += fmt::format(", {:.0f} GB/s", g.read_bytes_per_second / 1e9);
    finding.facts["read_gb_s"] = g.read_bytes_per_second / 1e9;
  }
  if (g.compute_major < kOldestMajor) {
    finding.grade = Grade::kMissing;
    finding.remedy = "the kernels need compute capability 8.0 (A100) or newer: --device cpu";
  } else if (g.free_bytes < g.memory_bytes / 10 * 9) {
    finding.grade = Grade::kHint;
    finding.remedy = "something else holds memory there: nvidia-smi";
  }
  return finding;
}

Finding peers(const std::vector<GpuFacts>& gpus) {
  std::vector<std::string> cut;
  for (size_t i = 0; i < gpus.size(); ++i) {
    if (gpus[i].peers.size() + 1 < gpus.size()) cut.push_back(std::to_string(i));
  }
  Finding finding{
      .topic = "peer access", .text = "every GPU reaches every other one's memory", .facts = {{"all", cut.empty()}}};
  if (!cut.empty()) {
    finding.grade = Grade::kHint;
    finding.text = fmt::format("GPUs {} do not reach all others' memory: what they exchange goes through the host's",
                               fmt::join(cut, ", "));
    finding.remedy = "nvidia-smi topo -m shows the links; PCIe access control (ACS) in the BIOS cuts them, too";
  }
  return finding;
}

// NCCL by its own word: it tells its version without a GPU.
Finding nccl() {
  void* library = dlopen("libnccl.so.2", RTLD_LAZY | RTLD_LOCAL);
  if (library == nullptr) {
    return {"NCCL",
            Grade::kMissing,
            "no libnccl.so.2",
            "jobs of several GPUs need it: libnccl2 of NVIDIA's CUDA repository",
            {{"version", nullptr}}};
  }
  int number = 0;
  using GetVersion = int (*)(int*);
  if (const auto get_version = reinterpret_cast<GetVersion>(dlsym(library, "ncclGetVersion"))) get_version(&number);
  dlclose(library);
  // 22304 is 2.23.4.
  const std::string version = fmt::format("{}.{}.{}", number / 10000, number / 100 % 100, number % 100);
  return {.topic = "NCCL", .text = version, .facts = {{"version", version}}};
}

}  // namespace

Findings check_devices(const KernelFiles& files, const DeviceProbe& probe) {
  Findings findings = {driver(files, probe), build(probe)};
  for (size_t i = 0; i < probe.gpus.size(); ++i) findings.push_back(gpu(i, probe.gpus[i]));
  if (probe.gpus.size() > 1) findings.push_back(peers(probe.gpus));
  if (probe.gpus.empty()) {
    const auto names = gpus_of_the_kernel(files);
    Finding none{"GPUs", Grade::kMissing, probe.problem.empty() ? "none" : probe.problem, "", {{"names", names}}};
    if (!names.empty()) {
      none.text = fmt::format("{}{}", fmt::join(names, ", "), probe.problem.empty() ? "" : ": " + probe.problem);
      none.grade = Grade::kHint;
      none.remedy = probe.built_in ? "may this process open /dev/nvidia*?" : "a build with CUDA uses them";
    }
    findings.push_back(std::move(none));
  }
  findings.push_back(nccl());
  return findings;
}

}  // namespace octet
