#include "kernels/cuda/cuda_check.h"

#include "runtime/base/log.h"
#include "runtime/base/status.h"

namespace octet {

void cuda_call_failed(const char* call, cudaError_t error, const char* file, int line) {
  int device = -1;
  cudaGetDevice(&device);
  log_error("{}:{}: {} failed on GPU {}: {} ({})", file, line, call, device, cudaGetErrorString(error),
            cudaGetErrorName(error));
  end_process(failed("").exit_code());
}

void* allocate_gpu(size_t bytes) {
  void* memory = nullptr;
  const cudaError_t error = cudaMalloc(&memory, bytes);
  if (error != cudaErrorMemoryAllocation) {
    if (error != cudaSuccess) cuda_call_failed("cudaMalloc", error, __FILE__, __LINE__);
    return memory;
  }
  int device = -1;
  size_t free = 0, total = 0;
  cudaGetDevice(&device);
  cudaMemGetInfo(&free, &total);
  const auto gigabytes = [](size_t count) { return static_cast<double>(count) / 1e9; };
  log_error(
      "out of memory on GPU {}: {:.3f} GB more are needed, {:.3f} of its {:.3f} GB are free; a smaller --kv-cache, "
      "--max-batch or --prefill-chunk takes less, and so do more ranks",
      device, gigabytes(bytes), gigabytes(free), gigabytes(total));
  end_process(failed("").exit_code());
}

void cublas_call_failed(const char* call, cublasStatus_t status, const char* file, int line) {
  log_error("{}:{}: {} failed: {}", file, line, call, cublasGetStatusName(status));
  end_process(failed("").exit_code());
}

}  // namespace octet
