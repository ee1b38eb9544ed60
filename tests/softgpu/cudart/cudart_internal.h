// Helpers of the CUDA runtime replacement.
#pragma once

#pragma GCC visibility push(default)  // the API functions are the library's exports
#include <cuda_runtime_api.h>
#pragma GCC visibility pop

#include "tests/softgpu/cudart/memory.h"
#include "tests/softgpu/cudart/runtime_api.h"
#include "tests/softgpu/cudart/stream.h"

namespace octet::softgpu {

int current_device_index();
inline Device& current_device() { return Device::get(current_device_index()); }

// The stream behind a handle: a created one, or a default stream.
Stream& stream_of(cudaStream_t handle);
bool is_valid_stream(cudaStream_t handle);

// Records an error for cudaGetLastError and returns it.
cudaError_t report(cudaError_t error);
// Same, with an explanation on stderr.
cudaError_t report(cudaError_t error, const std::string& message);

// Body of an API function: turns exceptions into error codes and records them. The device's
// sticky error, if there is one, goes first.
template <class F>
cudaError_t guarded(F body) {
  if (const cudaError_t sticky = current_device().sticky_error(); sticky != cudaSuccess) return report(sticky);
  try {
    return report(body());
  } catch (const PtxError& e) {
    return report(cudaErrorInvalidPtx, e.what());
  } catch (const DeviceFault& e) {
    return report(cudaError_t(e.code), e.what());
  } catch (const std::exception& e) {
    return report(cudaErrorUnknown, e.what());
  }
}

struct KernelLaunch {
  const void* function;
  Dim3 grid, block;
  void** arguments;
  std::size_t shared_bytes;
  cudaStream_t stream;
  bool cooperative = false;
};
cudaError_t launch(const KernelLaunch& request);

// A launch whose configuration has been checked, with a copy of its arguments.
struct PreparedLaunch {
  const void* function;
  const struct LoadedKernel* kernel;
  Dim3 grid, block;
  u32 shared_bytes;
  std::vector<std::byte> parameters;
  std::vector<void*> argument_pointers;  // into `parameters`
  int device;
  bool cooperative;
};
// Both throw DeviceFault or PtxError. The stream of the request is not looked at.
std::shared_ptr<PreparedLaunch> prepare(const KernelLaunch& request, int device);
Task task_of(std::shared_ptr<PreparedLaunch> launch);

}  // namespace octet::softgpu
