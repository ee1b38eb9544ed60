// What the runtime offers to the cuBLAS and NCCL replacements.
#pragma once

#include <driver_types.h>

#include <functional>
#include <string>

#include "tests/softgpu/base/common.h"

namespace octet::softgpu::api {

#define SOFTGPU_EXPORT __attribute__((visibility("default")))

// Appends work to a stream (or to the graph being captured from it). The work may throw
// DeviceFault, which becomes the device's sticky error.
SOFTGPU_EXPORT cudaError_t enqueue(cudaStream_t stream, std::string what, std::function<void()> work);

// Host pointer to `bytes` bytes at a device address; throws DeviceFault if they are not all in one
// live allocation (or, for reads under SOFTGPU_INITCHECK, not initialised). `who` is for the message.
SOFTGPU_EXPORT const std::byte* readable(const void* address, u64 bytes, const char* who);
SOFTGPU_EXPORT std::byte* writable(void* address, u64 bytes, const char* who);
// True if the address belongs to device, managed or pinned memory.
SOFTGPU_EXPORT bool is_device_accessible(const void* address);

// See ledger.h.
enum class Stage : u8 { kCalled, kExecuted };
inline constexpr int kNoPeer = -1;
SOFTGPU_EXPORT void record(Stage stage, int device, const char* what, u64 bytes, int peer = kNoPeer);

SOFTGPU_EXPORT int current_device();
SOFTGPU_EXPORT int device_of(cudaStream_t stream);
SOFTGPU_EXPORT cudaError_t sticky_error();
SOFTGPU_EXPORT void set_error(cudaError_t error, const std::string& message);

}  // namespace octet::softgpu::api
