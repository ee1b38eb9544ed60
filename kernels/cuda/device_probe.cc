// The probe of a build with CUDA: takes the place of kernels/device_probe.cc.
#include "kernels/device_probe.h"

#include <cuda_runtime.h>

#include <fmt/format.h>

namespace octet {
namespace {

// 13000 is "13.0".
std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  return cudaDeviceGetAttribute(&value, which, device) == cudaSuccess ? value : 0;
}

std::vector<int> peers_of(int device, int num_devices) {
  std::vector<int> peers;
  for (int other = 0; other < num_devices; ++other) {
    int reachable = 0;
    if (other != device && cudaDeviceCanAccessPeer(&reachable, device, other) == cudaSuccess && reachable != 0) {
      peers.push_back(other);
    }
  }
  return peers;
}

int64_t free_bytes(int device) {
  size_t free = 0;
  size_t total = 0;
  const bool known = cudaSetDevice(device) == cudaSuccess && cudaMemGetInfo(&free, &total) == cudaSuccess;
  return known ? static_cast<int64_t>(free) : 0;
}

GpuFacts facts_of(int device, int num_devices) {
  GpuFacts facts;
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, device) == cudaSuccess) {
    facts.name = properties.name;
    facts.compute_major = properties.major;
    facts.compute_minor = properties.minor;
    facts.num_multiprocessors = properties.multiProcessorCount;
    facts.memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
  }
  // Kilohertz and bits; two transfers a clock.
  const double clock = 1e3 * attribute(cudaDevAttrMemoryClockRate, device);
  facts.read_bytes_per_second = 2 * clock * attribute(cudaDevAttrGlobalMemoryBusWidth, device) / 8;
  facts.free_bytes = free_bytes(device);
  facts.peers = peers_of(device, num_devices);
  return facts;
}

}  // namespace

DeviceProbe probe_devices() {
  DeviceProbe probe;
  probe.built_in = true;
  probe.library_version = version_text(CUDART_VERSION);
  int driver = 0;
  if (cudaDriverGetVersion(&driver) == cudaSuccess && driver > 0) probe.driver_version = version_text(driver);
  int num_devices = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&num_devices); error != cudaSuccess) {
    probe.problem = cudaGetErrorString(error);
    return probe;
  }
  int current = 0;
  cudaGetDevice(&current);
  for (int device = 0; device < num_devices; ++device) probe.gpus.push_back(facts_of(device, num_devices));
  cudaSetDevice(current);
  return probe;
}

}  // namespace octet
