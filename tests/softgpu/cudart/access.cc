// Checked access of the other libraries to device memory.

#include <driver_types.h>

#include "tests/softgpu/cudart/memory.h"
#include "tests/softgpu/cudart/runtime_api.h"

namespace octet::softgpu::api {

const std::byte* readable(const void* address, u64 bytes, const char* who) {
  const auto map = Memory::instance().snapshot();
  const Region* region = map->find(u64(address));
  if (!region || !region->contains(u64(address), bytes))
    throw DeviceFault(cudaErrorIllegalAddress, format("%s: illegal read of %llu bytes: %s", who,
                                                      (unsigned long long)bytes, map->describe(u64(address)).c_str()));
  if (!region->is_initialized(u64(address), bytes))
    throw DeviceFault(cudaErrorLaunchFailure,
                      format("%s: reads uninitialised memory: %s", who, map->describe(u64(address)).c_str()));
  return region->at(u64(address));
}

std::byte* writable(void* address, u64 bytes, const char* who) {
  const auto map = Memory::instance().snapshot();
  const Region* region = map->find(u64(address));
  if (!region || !region->contains(u64(address), bytes))
    throw DeviceFault(cudaErrorIllegalAddress, format("%s: illegal write of %llu bytes: %s", who,
                                                      (unsigned long long)bytes, map->describe(u64(address)).c_str()));
  region->mark_initialized(u64(address), bytes);
  return region->at(u64(address));
}

bool is_device_accessible(const void* address) { return Memory::instance().snapshot()->find(u64(address)) != nullptr; }

}  // namespace octet::softgpu::api
