// CUDA runtime: memory.

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "tests/softgpu/cudart/cudart_internal.h"
#include "tests/softgpu/cudart/ledger.h"
#include "tests/softgpu/cudart/module.h"

namespace octet::softgpu {
namespace {

// One end of a copy.
struct End {
  std::byte* bytes = nullptr;
  const Region* region = nullptr;  // null: ordinary host memory
  bool on_device() const { return region && region->kind != Region::Kind::kPinnedHost; }
};

End end_of(const MemoryMap& map, const void* pointer, u64 bytes, const char* what) {
  const Region* region = map.find(u64(pointer));
  if (!region) return {static_cast<std::byte*>(const_cast<void*>(pointer)), nullptr};
  if (!region->contains(u64(pointer), bytes))
    throw DeviceFault(cudaErrorInvalidValue, format("%s of %llu bytes runs past its allocation: %s", what,
                                                    (unsigned long long)bytes, map.describe(u64(pointer)).c_str()));
  return {region->at(u64(pointer)), region};
}

bool is_pageable(const MemoryMap& map, const void* pointer) { return map.find(u64(pointer)) == nullptr; }

const char* direction(const MemoryMap& map, const void* from, const void* to) {
  const auto on_device = [&](const void* p) {
    const Region* region = map.find(u64(p));
    return region && region->kind != Region::Kind::kPinnedHost;
  };
  if (on_device(from)) return on_device(to) ? "DtoD" : "DtoH";
  return on_device(to) ? "HtoD" : "HtoH";
}

void check_kind(const MemoryMap& map, const void* pointer, bool should_be_device, const char* what) {
  const Region* region = map.find(u64(pointer));
  const bool host = !region;
  const bool strictly_device =
      region && (region->kind == Region::Kind::kDevice || region->kind == Region::Kind::kModule);
  if (should_be_device ? host : strictly_device)
    throw DeviceFault(cudaErrorInvalidValue, format("%s: %s is %s memory", what, map.describe(u64(pointer)).c_str(),
                                                    should_be_device ? "host" : "device"));
}

void copy_bytes(const End& to, const End& from, u64 bytes) {
  std::memmove(to.bytes, from.bytes, bytes);
  if (!to.region || !to.region->initialized) return;
  u8* flags = to.region->initialized + (to.bytes - to.region->storage);
  if (from.region && from.region->initialized)
    std::memmove(flags, from.region->initialized + (from.bytes - from.region->storage), bytes);
  else
    std::memset(flags, 1, bytes);
}

struct Copy {
  void* to;
  std::size_t to_pitch;
  const void* from;
  std::size_t from_pitch, width, height;
  std::shared_ptr<std::vector<std::byte>> staged;  // copy of a pageable source
};

void run_copy(const Copy& c) {
  const auto map = Memory::instance().snapshot();
  const auto extent = [&](std::size_t pitch) { return (c.height - 1) * pitch + c.width; };
  const End to = end_of(*map, c.to, extent(c.to_pitch), "destination");
  const End from = end_of(*map, c.from, extent(c.from_pitch), "source");
  for (std::size_t row = 0; row < c.height; ++row) {
    End t = to, f = from;
    t.bytes += row * c.to_pitch;
    f.bytes += row * c.from_pitch;
    copy_bytes(t, f, c.width);
  }
}

cudaError_t copy(Copy c, cudaMemcpyKind kind, cudaStream_t handle, bool async) {
  if (c.width == 0 || c.height == 0) return cudaSuccess;
  if (c.to_pitch < c.width || c.from_pitch < c.width) return cudaErrorInvalidPitchValue;
  if (!async && capture_forbids_unsafe_calls()) return cudaErrorStreamCaptureImplicit;
  const auto map = Memory::instance().snapshot();
  if (kind != cudaMemcpyDefault) {
    check_kind(*map, c.to, kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice,
               "cudaMemcpy destination");
    check_kind(*map, c.from, kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice, "cudaMemcpy source");
  }
  const auto extent = [&](std::size_t pitch) { return (c.height - 1) * pitch + c.width; };
  end_of(*map, c.to, extent(c.to_pitch), "cudaMemcpy destination");
  end_of(*map, c.from, extent(c.from_pitch), "cudaMemcpy source");
  Stream& stream = stream_of(handle);
  const bool capturing = stream.capture != nullptr;
  const void* const original_from = c.from;
  // A pageable source is read before the call returns; a pageable destination is written before.
  if (async && !capturing && is_pageable(*map, c.from)) {
    const auto* bytes = static_cast<const std::byte*>(c.from);
    c.staged = std::make_shared<std::vector<std::byte>>(bytes, bytes + extent(c.from_pitch));
    c.from = c.staged->data();
  }
  const bool wait = !async || (!capturing && is_pageable(*map, c.to));
  Completed done;
  const std::string what = std::string("memcpy.") + direction(*map, original_from, c.to);
  const cudaError_t error = stream.device.enqueue(stream, {what, [c] { run_copy(c); }, c.width * c.height}, {}, &done);
  if (error != cudaSuccess || !wait) return error;
  record(api::Stage::kCalled, stream.device.index, "host-wait.memcpy");
  done->wait();
  return stream.device.sticky_error();
}

cudaError_t set(void* to, std::size_t pitch, int value, std::size_t width, std::size_t height, cudaStream_t handle,
                bool async) {
  if (width == 0 || height == 0) return cudaSuccess;
  if (!async && capture_forbids_unsafe_calls()) return cudaErrorStreamCaptureImplicit;
  check_kind(*Memory::instance().snapshot(), to, true, "cudaMemset");
  end_of(*Memory::instance().snapshot(), to, (height - 1) * pitch + width, "cudaMemset");
  Stream& stream = stream_of(handle);
  const auto work = [=] {
    const auto map = Memory::instance().snapshot();
    const End end = end_of(*map, to, (height - 1) * pitch + width, "cudaMemset");
    for (std::size_t row = 0; row < height; ++row) {
      std::memset(end.bytes + row * pitch, value, width);
      if (end.region) end.region->mark_initialized(u64(to) + row * pitch, width);
    }
  };
  return stream.device.enqueue(stream, {"memset", work, width * height});
}

cudaError_t allocate(void** pointer, std::size_t bytes) {
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  const u64 address = Memory::instance().allocate_device(current_device_index(), bytes, Region::Kind::kDevice);
  if (!address) return cudaErrorMemoryAllocation;
  *pointer = reinterpret_cast<void*>(address);
  return cudaSuccess;
}

// Host memory that kernels can use. Sizes are kept to unmap it.
std::mutex host_mutex;
std::map<void*, std::size_t> host_blocks;

cudaError_t allocate_host(void** pointer, std::size_t bytes, Region::Kind kind) {
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  const std::size_t size = round_up(bytes, 4096);
  void* p = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return cudaErrorMemoryAllocation;
  {
    std::lock_guard lock(host_mutex);
    host_blocks[p] = size;
  }
  Memory::instance().add_host(p, bytes, kind, current_device_index());
  *pointer = p;
  return cudaSuccess;
}

bool free_host(void* pointer) {
  std::lock_guard lock(host_mutex);
  const auto it = host_blocks.find(pointer);
  if (it == host_blocks.end()) return false;
  Memory::instance().remove_host(pointer);
  munmap(pointer, it->second);
  host_blocks.erase(it);
  return true;
}

Program::VariableInfo symbol_info(const void* symbol) {
  const auto info = Program::instance().variable(symbol, current_device_index());
  if (!info) throw DeviceFault(cudaErrorInvalidSymbol, "not a device symbol");
  return *info;
}

void* symbol_range(const void* symbol, std::size_t bytes, std::size_t offset) {
  const auto info = symbol_info(symbol);
  if (offset > info.bytes || bytes > info.bytes - offset)
    throw DeviceFault(cudaErrorInvalidValue, format("%zu bytes at offset %zu of a %llu-byte symbol", bytes, offset,
                                                    (unsigned long long)info.bytes));
  return reinterpret_cast<void*>(info.address + offset);
}

}  // namespace

}  // namespace octet::softgpu

using namespace octet::softgpu;

extern "C" {

cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
  return guarded(
      [&] { return capture_forbids_unsafe_calls() ? cudaErrorStreamCaptureUnsupported : allocate(pointer, bytes); });
}

cudaError_t cudaFree(void* pointer) {
  return guarded([&] {
    if (!pointer) return cudaSuccess;
    if (capture_forbids_unsafe_calls()) return cudaErrorStreamCaptureUnsupported;
    current_device().synchronize();
    return Memory::instance().free_device(u64(pointer)) || free_host(pointer) ? cudaSuccess : cudaErrorInvalidValue;
  });
}

cudaError_t cudaMallocAsync(void** pointer, std::size_t bytes, cudaStream_t) {
  return guarded([&] { return allocate(pointer, bytes); });
}

cudaError_t cudaMallocFromPoolAsync(void** pointer, std::size_t bytes, cudaMemPool_t, cudaStream_t) {
  return guarded([&] { return allocate(pointer, bytes); });
}

cudaError_t cudaFreeAsync(void* pointer, cudaStream_t handle) {
  return guarded([&] {
    if (!pointer) return cudaSuccess;
    Stream& stream = stream_of(handle);
    return stream.device.enqueue(stream, {"free", [pointer] {
                                            if (!Memory::instance().free_device(u64(pointer)))
                                              throw DeviceFault(cudaErrorInvalidValue,
                                                                "cudaFreeAsync of what is not allocated");
                                          }});
  });
}

cudaError_t cudaMallocPitch(void** pointer, std::size_t* pitch, std::size_t width, std::size_t height) {
  *pitch = round_up(width, 512);
  return cudaMalloc(pointer, *pitch * height);
}

cudaError_t cudaMallocManaged(void** pointer, std::size_t bytes, unsigned) {
  return guarded([&] { return allocate_host(pointer, bytes, Region::Kind::kManaged); });
}
cudaError_t cudaMallocHost(void** pointer, std::size_t bytes) {
  return guarded([&] { return allocate_host(pointer, bytes, Region::Kind::kPinnedHost); });
}
cudaError_t cudaHostAlloc(void** pointer, std::size_t bytes, unsigned) { return cudaMallocHost(pointer, bytes); }

cudaError_t cudaFreeHost(void* pointer) {
  return guarded([&] {
    if (!pointer) return cudaSuccess;
    current_device().synchronize();
    return free_host(pointer) ? cudaSuccess : cudaErrorInvalidValue;
  });
}

cudaError_t cudaHostRegister(void* pointer, std::size_t bytes, unsigned) {
  return guarded([&] {
    if (Memory::instance().snapshot()->find(u64(pointer))) return cudaErrorHostMemoryAlreadyRegistered;
    Memory::instance().add_host(pointer, bytes, Region::Kind::kPinnedHost, current_device_index());
    return cudaSuccess;
  });
}

cudaError_t cudaHostUnregister(void* pointer) {
  return guarded(
      [&] { return Memory::instance().remove_host(pointer) ? cudaSuccess : cudaErrorHostMemoryNotRegistered; });
}

cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) { return *device = host, cudaSuccess; }

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  return guarded([&] {
    *free = Memory::instance().free_bytes(current_device_index());
    *total = Memory::instance().total_bytes();
    return cudaSuccess;
  });
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  return guarded([&] {
    *attributes = {};
    const auto map = Memory::instance().snapshot();
    const Region* region = map->find(u64(pointer));
    attributes->type = cudaMemoryTypeUnregistered;
    attributes->device = current_device_index();
    attributes->hostPointer = const_cast<void*>(pointer);
    if (!region) return cudaSuccess;
    attributes->device = region->device;
    attributes->devicePointer = const_cast<void*>(pointer);
    attributes->type = region->kind == Region::Kind::kPinnedHost ? cudaMemoryTypeHost
                       : region->kind == Region::Kind::kManaged  ? cudaMemoryTypeManaged
                                                                 : cudaMemoryTypeDevice;
    if (attributes->type == cudaMemoryTypeDevice) attributes->hostPointer = nullptr;
    return cudaSuccess;
  });
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  return guarded([&] { return copy({to, bytes, from, bytes, bytes, 1, {}}, kind, nullptr, false); });
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  return guarded([&] { return copy({to, bytes, from, bytes, bytes, 1, {}}, kind, stream, true); });
}
cudaError_t cudaMemcpy2D(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch, std::size_t width,
                         std::size_t height, cudaMemcpyKind kind) {
  return guarded([&] { return copy({to, to_pitch, from, from_pitch, width, height, {}}, kind, nullptr, false); });
}
cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                              std::size_t width, std::size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  return guarded([&] { return copy({to, to_pitch, from, from_pitch, width, height, {}}, kind, stream, true); });
}
cudaError_t cudaMemcpyPeer(void* to, int, const void* from, int, std::size_t bytes) {
  return cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToDevice);
}
cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, std::size_t bytes, cudaStream_t stream) {
  return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
}

cudaError_t cudaMemset(void* to, int value, std::size_t bytes) {
  return guarded([&] { return set(to, bytes, value, bytes, 1, nullptr, false); });
}
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  return guarded([&] { return set(to, bytes, value, bytes, 1, stream, true); });
}
cudaError_t cudaMemset2D(void* to, std::size_t pitch, int value, std::size_t width, std::size_t height) {
  return guarded([&] { return set(to, pitch, value, width, height, nullptr, false); });
}
cudaError_t cudaMemset2DAsync(void* to, std::size_t pitch, int value, std::size_t width, std::size_t height,
                              cudaStream_t stream) {
  return guarded([&] { return set(to, pitch, value, width, height, stream, true); });
}

cudaError_t cudaGetSymbolAddress(void** address, const void* symbol) {
  return guarded([&] { return *address = reinterpret_cast<void*>(symbol_info(symbol).address), cudaSuccess; });
}
cudaError_t cudaGetSymbolSize(std::size_t* bytes, const void* symbol) {
  return guarded([&] { return *bytes = symbol_info(symbol).bytes, cudaSuccess; });
}
cudaError_t cudaMemcpyToSymbol(const void* symbol, const void* from, std::size_t bytes, std::size_t offset,
                               cudaMemcpyKind kind) {
  return guarded([&] {
    return copy({symbol_range(symbol, bytes, offset), bytes, from, bytes, bytes, 1, {}}, kind, nullptr, false);
  });
}
cudaError_t cudaMemcpyToSymbolAsync(const void* symbol, const void* from, std::size_t bytes, std::size_t offset,
                                    cudaMemcpyKind kind, cudaStream_t stream) {
  return guarded([&] {
    return copy({symbol_range(symbol, bytes, offset), bytes, from, bytes, bytes, 1, {}}, kind, stream, true);
  });
}
cudaError_t cudaMemcpyFromSymbol(void* to, const void* symbol, std::size_t bytes, std::size_t offset,
                                 cudaMemcpyKind kind) {
  return guarded([&] {
    return copy({to, bytes, symbol_range(symbol, bytes, offset), bytes, bytes, 1, {}}, kind, nullptr, false);
  });
}
cudaError_t cudaMemcpyFromSymbolAsync(void* to, const void* symbol, std::size_t bytes, std::size_t offset,
                                      cudaMemcpyKind kind, cudaStream_t stream) {
  return guarded([&] {
    return copy({to, bytes, symbol_range(symbol, bytes, offset), bytes, bytes, 1, {}}, kind, stream, true);
  });
}

// Memory pools exist in name only: every allocation comes from the same arena.
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int) {
  return *pool = reinterpret_cast<cudaMemPool_t>(1), cudaSuccess;
}
cudaError_t cudaDeviceGetMemPool(cudaMemPool_t* pool, int) {
  return *pool = reinterpret_cast<cudaMemPool_t>(1), cudaSuccess;
}
cudaError_t cudaDeviceSetMemPool(int, cudaMemPool_t) { return cudaSuccess; }
cudaError_t cudaMemPoolCreate(cudaMemPool_t* pool, const cudaMemPoolProps*) {
  return *pool = reinterpret_cast<cudaMemPool_t>(1), cudaSuccess;
}
cudaError_t cudaMemPoolDestroy(cudaMemPool_t) { return cudaSuccess; }
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) { return cudaSuccess; }
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, std::size_t) { return cudaSuccess; }
cudaError_t cudaMemPrefetchAsync(const void*, std::size_t, cudaMemLocation, unsigned, cudaStream_t) {
  return cudaSuccess;
}
cudaError_t cudaMemAdvise(const void*, std::size_t, cudaMemoryAdvise, cudaMemLocation) { return cudaSuccess; }

}  // extern "C"
