// Failing CUDA and cuBLAS calls. Operations of a backend do not return errors: a failed call means that the device is
// lost to this process (or that a kernel is wrong), so one line says which call failed, with what and where, and the
// process ends with the exit code of a failed run; in a job the other ranks see it go.
#pragma once

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <cstddef>

namespace octet {

[[noreturn]] void cuda_call_failed(const char* call, cudaError_t error, const char* file, int line);
[[noreturn]] void cublas_call_failed(const char* call, cublasStatus_t status, const char* file, int line);

// Memory of the current GPU. Where there is not so much left, one line says how much there is and what takes less, and
// the process ends.
void* allocate_gpu(size_t bytes);

}  // namespace octet

#define OCTET_CUDA_CHECK(call)                                           \
  do {                                                                   \
    const cudaError_t octet_error = (call);                              \
    if (octet_error != cudaSuccess) [[unlikely]]                         \
      ::octet::cuda_call_failed(#call, octet_error, __FILE__, __LINE__); \
  } while (false)

#define OCTET_CUBLAS_CHECK(call)                                            \
  do {                                                                      \
    const cublasStatus_t octet_status = (call);                             \
    if (octet_status != CUBLAS_STATUS_SUCCESS) [[unlikely]]                 \
      ::octet::cublas_call_failed(#call, octet_status, __FILE__, __LINE__); \
  } while (false)

// After a kernel launch: whether it could be enqueued.
#define OCTET_CUDA_CHECK_LAUNCH() OCTET_CUDA_CHECK(cudaGetLastError())
