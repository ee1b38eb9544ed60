// CUDA runtime: registration of device code by nvcc's constructors, and kernel launches.

#include <algorithm>

#include "tests/softgpu/cudart/cudart_internal.h"
#include "tests/softgpu/cudart/module.h"
#include "tests/softgpu/exec/block.h"

namespace octet::softgpu {
namespace {

// <<<...>>> arguments between __cudaPushCallConfiguration and __cudaPopCallConfiguration.
struct CallConfiguration {
  dim3 grid, block;
  std::size_t shared_bytes;
  cudaStream_t stream;
};
thread_local std::vector<CallConfiguration> call_configurations;

Dim3 to_dim3(dim3 d) { return {d.x, d.y, d.z}; }

LoadedKernel& kernel_of(const void* function, int device = current_device_index()) {
  LoadedKernel* kernel = Program::instance().kernel(function, device);
  if (!kernel) throw DeviceFault(cudaErrorInvalidDeviceFunction, "not a kernel");
  return *kernel;
}

int attribute(cudaDeviceAttr which) {
  int value = 0;
  cudaDeviceGetAttribute(&value, which, current_device_index());
  return value;
}

std::string describe(const KernelLaunch& r, const LoadedKernel& kernel) {
  return format("launch of '%s' <<<(%u,%u,%u), (%u,%u,%u), %zu>>>", kernel.display_name.c_str(), r.grid.x, r.grid.y,
                r.grid.z, r.block.x, r.block.y, r.block.z, r.shared_bytes);
}

// The limits a real device would enforce.
void check_configuration(const KernelLaunch& r, const LoadedKernel& kernel) {
  const auto fail = [&](cudaError_t code, const std::string& why) {
    throw DeviceFault(code, describe(r, kernel) + ": " + why);
  };
  if (r.grid.count() == 0 || r.block.count() == 0) fail(cudaErrorInvalidConfiguration, "empty grid or block");
  if (r.block.count() > 1024 || r.block.x > 1024 || r.block.y > 1024 || r.block.z > 64)
    fail(cudaErrorInvalidConfiguration, "block too large");
  if (r.grid.x > 0x7fffffff || r.grid.y > 65535 || r.grid.z > 65535)
    fail(cudaErrorInvalidConfiguration, "grid too large");
  if (kernel.function->max_threads && r.block.count() > kernel.function->max_threads)
    fail(cudaErrorInvalidValue, format("more threads than the %u of __launch_bounds__", kernel.function->max_threads));
  if (r.shared_bytes > kernel.max_dynamic_shared_bytes)
    fail(cudaErrorInvalidValue, format("dynamic shared memory above %u bytes; see cudaFuncSetAttribute("
                                       "cudaFuncAttributeMaxDynamicSharedMemorySize)",
                                       kernel.max_dynamic_shared_bytes));
  const u64 shared = r.shared_bytes + kernel.static_shared_bytes;
  if (shared > 48 * 1024 && shared > u64(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin)))
    fail(cudaErrorInvalidValue, "shared memory above the device's limit");
}

// Memory of cooperative_groups' grid barrier (struct grid_workspace in its driver_abi.h).
u64 grid_workspace(int device) {
  static std::mutex mutex;
  static std::map<int, u64> workspaces;
  std::lock_guard lock(mutex);
  u64& address = workspaces[device];
  if (!address) {
    address = Memory::instance().allocate_device(device, 64, Region::Kind::kModule);
    const auto map = Memory::instance().snapshot();
    std::memset(map->find(address)->storage, 0, 64);
    map->find(address)->mark_initialized(address, 64);
  }
  return address;
}

void run(const PreparedLaunch& p) {
  static std::atomic<u64> next_grid_id = 1;
  static const bool init_check = environment("SOFTGPU_INITCHECK", 0);
  static const int race_check = int(environment("SOFTGPU_RACECHECK", 0));
  static const long timeout = environment("SOFTGPU_TIMEOUT_S", 600);
  static const bool profile = environment("SOFTGPU_PROFILE", 0);
  Launch launch;
  launch.code = p.kernel->code;
  launch.kernel_name = p.kernel->display_name;
  launch.grid = p.grid;
  launch.block = p.block;
  launch.parameters = p.parameters;
  launch.static_shared_bytes = p.kernel->static_shared_bytes;
  launch.dynamic_shared_bytes = p.shared_bytes;
  launch.reserved_shared_bytes = p.kernel->reserved_shared_bytes;
  launch.grid_id = next_grid_id++;
  launch.cooperative = p.cooperative;
  if (p.cooperative) launch.grid_workspace = grid_workspace(p.device);
  launch.memory = Memory::instance().snapshot();
  launch.init_check = init_check;
  launch.race_check = race_check;
  const auto begin = std::chrono::steady_clock::now();
  launch.deadline = begin + std::chrono::seconds(timeout);
  execute(launch);
  if (profile) {
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    std::fprintf(stderr, "softgpu: %-60.60s %8llu blocks %12llu lane instructions %9.3f ms %7.1f M/s\n",
                 launch.kernel_name.c_str(), (unsigned long long)launch.grid.count(),
                 (unsigned long long)launch.lane_instructions, seconds * 1e3,
                 double(launch.lane_instructions) / seconds * 1e-6);
  }
}

}  // namespace

std::shared_ptr<PreparedLaunch> prepare(const KernelLaunch& request, int device) {
  const LoadedKernel& kernel = kernel_of(request.function, device);
  check_configuration(request, kernel);
  auto prepared = std::make_shared<PreparedLaunch>(request.function, &kernel, request.grid, request.block,
                                                   u32(request.shared_bytes), std::vector<std::byte>{},
                                                   std::vector<void*>{}, device, request.cooperative);
  prepared->parameters.resize(kernel.function->parameter_bytes);
  std::size_t i = 0;
  for (const Variable& p : kernel.function->parameters) {
    prepared->argument_pointers.push_back(prepared->parameters.data() + p.offset);
    std::memcpy(prepared->argument_pointers.back(), request.arguments[i++], p.size);
  }
  return prepared;
}

Task task_of(std::shared_ptr<PreparedLaunch> launch) {
  return {"kernel " + launch->kernel->function->name, [launch] { run(*launch); }, 0, launch};
}

cudaError_t launch(const KernelLaunch& request) {
  return guarded([&] {
    Stream& stream = stream_of(request.stream);
    return stream.device.enqueue(stream, task_of(prepare(request, stream.device.index)));
  });
}

}  // namespace octet::softgpu

using namespace octet::softgpu;

#pragma GCC visibility push(default)
extern "C" {

// ---- called by nvcc's generated code (crt/host_runtime.h) ----

void** __cudaRegisterFatBinary(void* wrapper) { return reinterpret_cast<void**>(Program::instance().add(wrapper)); }
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
char __cudaInitModule(void**) { return 1; }

void __cudaRegisterFunction(void** binary, const char* host_function, char*, const char* name, int, uint3*, uint3*,
                            dim3*, dim3*, int*) {
  Program::instance().add_kernel(reinterpret_cast<Program::Binary*>(binary), host_function, name);
}

void __cudaRegisterVar(void** binary, char* host_variable, char*, const char* name, int, std::size_t, int, int) {
  Program::instance().add_variable(reinterpret_cast<Program::Binary*>(binary), host_variable, name);
}

void __cudaRegisterManagedVar(void**, void**, char*, const char* name, int, std::size_t, int, int) {
  std::fprintf(stderr, "softgpu: __managed__ variable '%s' is not supported\n", name);
  std::abort();
}

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, std::size_t shared_bytes, CUstream_st* stream) {
  call_configurations.push_back({grid, block, shared_bytes, stream});
  return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, std::size_t* shared_bytes, void* stream) {
  if (call_configurations.empty()) return cudaErrorMissingConfiguration;
  const CallConfiguration& c = call_configurations.back();
  *grid = c.grid, *block = c.block, *shared_bytes = c.shared_bytes;
  *static_cast<cudaStream_t*>(stream) = c.stream;
  call_configurations.pop_back();
  return cudaSuccess;
}

// A kernel handle is the program's symbol of the kernel.
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
  const auto* symbol = Program::instance().kernel_symbol(function);
  *kernel = reinterpret_cast<cudaKernel_t>(const_cast<Program::Symbol*>(symbol));
  return symbol ? cudaSuccess : report(cudaErrorInvalidDeviceFunction);
}

cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments, std::size_t shared_bytes,
                               cudaStream_t stream) {
  return launch({kernel, to_dim3(grid), to_dim3(block), arguments, shared_bytes, stream});
}
cudaError_t __cudaLaunchKernel_ptsz(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments,
                                    std::size_t shared_bytes, cudaStream_t stream) {
  return launch(
      {kernel, to_dim3(grid), to_dim3(block), arguments, shared_bytes, stream ? stream : cudaStreamPerThread});
}

// ---- public API ----

cudaError_t cudaGetKernel(cudaKernel_t* kernel, const void* function) { return __cudaGetKernel(kernel, function); }
cudaError_t cudaGetFuncBySymbol(cudaFunction_t* function, const void* symbol) {
  return __cudaGetKernel(reinterpret_cast<cudaKernel_t*>(function), symbol);
}

cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments, std::size_t shared_bytes,
                             cudaStream_t stream) {
  return launch({function, to_dim3(grid), to_dim3(block), arguments, shared_bytes, stream});
}

cudaError_t cudaLaunchCooperativeKernel(const void* function, dim3 grid, dim3 block, void** arguments,
                                        std::size_t shared_bytes, cudaStream_t stream) {
  return launch({function, to_dim3(grid), to_dim3(block), arguments, shared_bytes, stream, true});
}

// Launch attributes are hints, except for cooperation; clusters are not supported.
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function, void** arguments) {
  bool cooperative = false;
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    const cudaLaunchAttribute& a = config->attrs[i];
    if (a.id == cudaLaunchAttributeCooperative) cooperative = a.val.cooperative;
    if (a.id == cudaLaunchAttributeClusterDimension && a.val.clusterDim.x * a.val.clusterDim.y * a.val.clusterDim.z > 1)
      return report(cudaErrorNotSupported, "thread block clusters are not supported");
  }
  return launch({function, to_dim3(config->gridDim), to_dim3(config->blockDim), arguments, config->dynamicSmemBytes,
                 config->stream, cooperative});
}

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute which, int value) {
  return guarded([&] {
    LoadedKernel& kernel = kernel_of(function);
    if (which != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    if (value < 0 || u32(value) + kernel.static_shared_bytes > u32(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin)))
      return cudaErrorInvalidValue;
    kernel.max_dynamic_shared_bytes = u32(value);
    return cudaSuccess;
  });
}
cudaError_t cudaFuncSetCacheConfig(const void*, cudaFuncCache) { return cudaSuccess; }

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* function) {
  return guarded([&] {
    const LoadedKernel& kernel = kernel_of(function);
    *attributes = {};
    attributes->sharedSizeBytes = kernel.static_shared_bytes;
    attributes->localSizeBytes = kernel.function->frame_bytes;
    attributes->maxThreadsPerBlock = kernel.function->max_threads ? int(kernel.function->max_threads) : 1024;
    attributes->numRegs = 32;  // PTX does not say
    attributes->ptxVersion = attributes->binaryVersion = int(environment("SOFTGPU_COMPUTE_CAPABILITY", 80));
    attributes->maxDynamicSharedSizeBytes = int(kernel.max_dynamic_shared_bytes);
    return cudaSuccess;
  });
}

cudaError_t cudaFuncGetName(const char** name, const void* function) {
  return guarded([&] { return *name = kernel_of(function).function->name.c_str(), cudaSuccess; });
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void* function, int block_size,
                                                                   std::size_t dynamic_shared_bytes, unsigned) {
  return guarded([&] {
    const LoadedKernel& kernel = kernel_of(function);
    const std::size_t shared = kernel.static_shared_bytes + dynamic_shared_bytes + 1024;
    const int by_threads = attribute(cudaDevAttrMaxThreadsPerMultiProcessor) / std::max(block_size, 1);
    const int by_shared = attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor) / int(shared);
    *blocks =
        block_size > 1024 ? 0 : std::min({by_threads, by_shared, attribute(cudaDevAttrMaxBlocksPerMultiprocessor)});
    return cudaSuccess;
  });
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void* function, int block_size,
                                                          std::size_t dynamic_shared_bytes) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, block_size, dynamic_shared_bytes, 0);
}

}  // extern "C"
#pragma GCC visibility pop
