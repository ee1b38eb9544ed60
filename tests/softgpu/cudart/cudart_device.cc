// CUDA runtime: devices, errors, versions, properties.

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "tests/softgpu/cudart/cudart_internal.h"
#include "tests/softgpu/cudart/ledger.h"
#include "tests/softgpu/cudart/module.h"
#include "tests/softgpu/exec/block.h"

namespace octet::softgpu {
namespace {

thread_local int device = 0;
thread_local cudaError_t last_error = cudaSuccess;

long capability() { return environment("SOFTGPU_COMPUTE_CAPABILITY", 80); }
int multiprocessors() { return int(environment("SOFTGPU_SM_COUNT", 8)); }
int shared_opt_in() { return capability() >= 90 ? 232448 : capability() == 80 ? 166912 : 101376; }

// What depends on no setting. Others are zero.
struct Attribute {
  cudaDeviceAttr which;
  int value;
};
constexpr Attribute kConstantAttributes[] = {
    {cudaDevAttrMaxThreadsPerBlock, 1024},
    {cudaDevAttrMaxBlockDimX, 1024},
    {cudaDevAttrMaxBlockDimY, 1024},
    {cudaDevAttrMaxBlockDimZ, 64},
    {cudaDevAttrMaxGridDimX, 0x7fffffff},
    {cudaDevAttrMaxGridDimY, 65535},
    {cudaDevAttrMaxGridDimZ, 65535},
    {cudaDevAttrMaxSharedMemoryPerBlock, 48 * 1024},
    {cudaDevAttrReservedSharedMemoryPerBlock, 1024},
    {cudaDevAttrTotalConstantMemory, 65536},
    {cudaDevAttrWarpSize, int(kLanes)},
    {cudaDevAttrMaxRegistersPerBlock, 65536},
    {cudaDevAttrMaxRegistersPerMultiprocessor, 65536},
    {cudaDevAttrClockRate, 1000000},
    {cudaDevAttrMemoryClockRate, 1000000},
    {cudaDevAttrGlobalMemoryBusWidth, 64},
    {cudaDevAttrL2CacheSize, 4 << 20},
    {cudaDevAttrMaxThreadsPerMultiProcessor, 2048},
    {cudaDevAttrMaxBlocksPerMultiprocessor, 32},
    {cudaDevAttrConcurrentKernels, 1},
    {cudaDevAttrUnifiedAddressing, 1},
    {cudaDevAttrCanMapHostMemory, 1},
    {cudaDevAttrManagedMemory, 1},
    {cudaDevAttrConcurrentManagedAccess, 1},
    {cudaDevAttrCooperativeLaunch, 1},
    {cudaDevAttrMemoryPoolsSupported, 1},
    {cudaDevAttrHostRegisterSupported, 1},
    {cudaDevAttrStreamPrioritiesSupported, 1},
    {cudaDevAttrCanUseHostPointerForRegisteredMem, 1},
    {cudaDevAttrComputePreemptionSupported, 1},
    {cudaDevAttrAsyncEngineCount, 2},
};

struct ErrorInfo {
  cudaError_t code;
  const char *name, *text;
};
#define SOFTGPU_ERROR(code, text) \
  { code, #code, text }
constexpr ErrorInfo kErrors[] = {
    SOFTGPU_ERROR(cudaSuccess, "no error"),
    SOFTGPU_ERROR(cudaErrorInvalidValue, "invalid argument"),
    SOFTGPU_ERROR(cudaErrorMemoryAllocation, "out of memory"),
    SOFTGPU_ERROR(cudaErrorInitializationError, "initialization error"),
    SOFTGPU_ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    SOFTGPU_ERROR(cudaErrorInvalidPitchValue, "invalid pitch argument"),
    SOFTGPU_ERROR(cudaErrorInvalidSymbol, "invalid device symbol"),
    SOFTGPU_ERROR(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
    SOFTGPU_ERROR(cudaErrorMissingConfiguration, "__global__ function call is not configured"),
    SOFTGPU_ERROR(cudaErrorInvalidDeviceFunction, "invalid device function"),
    SOFTGPU_ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    SOFTGPU_ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
    SOFTGPU_ERROR(cudaErrorInvalidPtx, "a PTX JIT compilation failed"),
    SOFTGPU_ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    SOFTGPU_ERROR(cudaErrorNotReady, "device not ready"),
    SOFTGPU_ERROR(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    SOFTGPU_ERROR(cudaErrorLaunchOutOfResources, "too many resources requested for launch"),
    SOFTGPU_ERROR(cudaErrorLaunchTimeout, "the launch timed out and was terminated"),
    SOFTGPU_ERROR(cudaErrorPeerAccessAlreadyEnabled, "peer access is already enabled"),
    SOFTGPU_ERROR(cudaErrorPeerAccessNotEnabled, "peer access has not been enabled"),
    SOFTGPU_ERROR(cudaErrorAssert, "device-side assert triggered"),
    SOFTGPU_ERROR(cudaErrorHostMemoryAlreadyRegistered, "part or all of the requested memory range is already mapped"),
    SOFTGPU_ERROR(cudaErrorHostMemoryNotRegistered, "pointer does not correspond to a registered memory region"),
    SOFTGPU_ERROR(cudaErrorIllegalInstruction, "an illegal instruction was encountered"),
    SOFTGPU_ERROR(cudaErrorMisalignedAddress, "misaligned address"),
    SOFTGPU_ERROR(cudaErrorLaunchFailure, "unspecified launch failure"),
    SOFTGPU_ERROR(cudaErrorCooperativeLaunchTooLarge, "too many blocks in cooperative launch"),
    SOFTGPU_ERROR(cudaErrorNotSupported, "operation not supported"),
    SOFTGPU_ERROR(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    SOFTGPU_ERROR(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture"),
    SOFTGPU_ERROR(cudaErrorStreamCaptureUnmatched, "capture was not initiated in this stream"),
    SOFTGPU_ERROR(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work"),
    SOFTGPU_ERROR(cudaErrorStreamCaptureImplicit,
                  "operation would make the legacy stream depend on a capturing blocking stream"),
    SOFTGPU_ERROR(cudaErrorCapturedEvent, "operation not permitted on an event last recorded in a capturing stream"),
    SOFTGPU_ERROR(cudaErrorIllegalState, "the operation cannot be performed in the present state"),
    SOFTGPU_ERROR(cudaErrorGraphExecUpdateFailure,
                  "the graph update was not performed because it included changes which violated constraints"),
    SOFTGPU_ERROR(cudaErrorUnknown, "unknown error"),
};

const ErrorInfo* error_info(cudaError_t code) {
  const auto it = std::ranges::find(kErrors, code, &ErrorInfo::code);
  return it == std::end(kErrors) ? nullptr : it;
}

}  // namespace

int current_device_index() { return device; }

cudaError_t report(cudaError_t error) {
  if (error != cudaSuccess && error != cudaErrorNotReady) last_error = error;
  return error;
}

cudaError_t report(cudaError_t error, const std::string& message) {
  std::fflush(stdout);
  std::fprintf(stderr, "softgpu: %s\n", message.c_str());
  return report(error);
}

namespace api {

int current_device() { return device; }
cudaError_t sticky_error() { return octet::softgpu::current_device().sticky_error(); }
void set_error(cudaError_t error, const std::string& message) {
  octet::softgpu::current_device().set_error(error, message);
}

}  // namespace api
}  // namespace octet::softgpu

using namespace octet::softgpu;

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  *count = Device::count();
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int index) {
  if (index < 0 || index >= Device::count()) return report(cudaErrorInvalidDevice);
  octet::softgpu::device = index;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* index) {
  *index = current_device_index();
  return cudaSuccess;
}

cudaError_t cudaInitDevice(int, unsigned, unsigned) { return cudaSuccess; }
cudaError_t cudaSetDeviceFlags(unsigned) { return cudaSuccess; }
cudaError_t cudaGetDeviceFlags(unsigned* flags) { return *flags = 0, cudaSuccess; }

cudaError_t cudaDeviceSynchronize() {
  return guarded([] {
    if (capture_forbids_unsafe_calls()) return cudaErrorStreamCaptureUnsupported;
    record(api::Stage::kCalled, current_device_index(), "host-wait.device");
    current_device().synchronize();
    std::fflush(stdout);
    return current_device().sticky_error();
  });
}

// Clears the sticky error; allocations and modules stay.
cudaError_t cudaDeviceReset() {
  current_device().synchronize();
  current_device().clear_error();
  last_error = cudaSuccess;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  const cudaError_t sticky = current_device().sticky_error();
  const cudaError_t error = last_error != cudaSuccess ? last_error : sticky;
  last_error = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError() { return last_error != cudaSuccess ? last_error : current_device().sticky_error(); }

const char* cudaGetErrorString(cudaError_t error) {
  const auto* info = error_info(error);
  return info ? info->text : "unrecognized error code";
}

const char* cudaGetErrorName(cudaError_t error) {
  const auto* info = error_info(error);
  return info ? info->name : "unrecognized error code";
}

cudaError_t cudaDriverGetVersion(int* version) { return *version = CUDART_VERSION, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int* version) { return *version = CUDART_VERSION, cudaSuccess; }
cudaError_t cudaProfilerStart() { return cudaSuccess; }
cudaError_t cudaProfilerStop() { return cudaSuccess; }

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int index) {
  if (index < 0 || index >= Device::count()) return report(cudaErrorInvalidDevice);
  switch (attribute) {
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = shared_opt_in();
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = shared_opt_in() + 1024;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = multiprocessors();
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = int(capability() / 10);
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = int(capability() % 10);
      break;
    case cudaDevAttrPciBusId:
      *value = index;
      break;
    default: {
      const auto it = std::ranges::find(kConstantAttributes, attribute, &Attribute::which);
      *value = it == std::end(kConstantAttributes) ? 0 : it->value;
    }
  }
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int index) {
  if (index < 0 || index >= Device::count()) return report(cudaErrorInvalidDevice);
  *p = {};
  const char* name = std::getenv("SOFTGPU_DEVICE_NAME");
  std::snprintf(p->name, sizeof p->name, "%s", name ? name : "softgpu virtual device");
  std::memset(&p->uuid, index + 1, sizeof p->uuid);
  const auto attribute = [&](cudaDeviceAttr a) {
    int value;
    cudaDeviceGetAttribute(&value, a, index);
    return value;
  };
  p->totalGlobalMem = Memory::instance().total_bytes();
  p->sharedMemPerBlock = 48 * 1024;
  p->sharedMemPerBlockOptin = std::size_t(shared_opt_in());
  p->sharedMemPerMultiprocessor = std::size_t(shared_opt_in()) + 1024;
  p->reservedSharedMemPerBlock = 1024;
  p->regsPerBlock = p->regsPerMultiprocessor = 65536;
  p->warpSize = int(kLanes);
  p->memPitch = 0x7fffffff;
  p->maxThreadsPerBlock = 1024;
  p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
  p->maxThreadsDim[2] = 64;
  p->maxGridSize[0] = 0x7fffffff;
  p->maxGridSize[1] = p->maxGridSize[2] = 65535;
  p->totalConstMem = 65536;
  p->major = int(capability() / 10);
  p->minor = int(capability() % 10);
  p->multiProcessorCount = multiprocessors();
  p->canMapHostMemory = p->concurrentKernels = p->unifiedAddressing = p->managedMemory = 1;
  p->concurrentManagedAccess = p->cooperativeLaunch = p->memoryPoolsSupported = p->hostRegisterSupported = 1;
  p->streamPrioritiesSupported = p->canUseHostPointerForRegisteredMem = 1;
  p->asyncEngineCount = 2;
  p->memoryBusWidth = attribute(cudaDevAttrGlobalMemoryBusWidth);
  p->l2CacheSize = attribute(cudaDevAttrL2CacheSize);
  p->maxThreadsPerMultiProcessor = 2048;
  p->maxBlocksPerMultiProcessor = 32;
  p->pciBusID = index;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char* text, int length, int index) {
  std::snprintf(text, std::size_t(length), "0000:%02x:00.0", index);
  return cudaSuccess;
}

cudaError_t cudaDeviceGetP2PAttribute(int* value, cudaDeviceP2PAttr attribute, int a, int b) {
  return *value = attribute == cudaDevP2PAttrAccessSupported && a != b, cudaSuccess;
}
cudaError_t cudaDeviceCanAccessPeer(int* can, int a, int b) { return *can = a != b, cudaSuccess; }
cudaError_t cudaDeviceEnablePeerAccess(int, unsigned) { return cudaSuccess; }
cudaError_t cudaDeviceDisablePeerAccess(int) { return cudaSuccess; }
cudaError_t cudaDeviceSetLimit(cudaLimit, std::size_t) { return cudaSuccess; }
cudaError_t cudaDeviceGetLimit(std::size_t* value, cudaLimit) { return *value = 65536, cudaSuccess; }
cudaError_t cudaDeviceSetCacheConfig(cudaFuncCache) { return cudaSuccess; }
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  return *least = 0, *greatest = -5, cudaSuccess;
}

}  // extern "C"
