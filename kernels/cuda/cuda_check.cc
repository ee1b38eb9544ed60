#include "kernels/cuda/cuda_check.h"

#include <cstdlib>

#include "runtime/base/log.h"
#include "runtime/base/status.h"

namespace octet {

void cuda_call_failed(const char* call, cudaError_t error, const char* file, int line) {
  int device = -1;
  cudaGetDevice(&device);
  log_error("{}:{}: {} failed on GPU {}: {} ({})", file, line, call, device, cudaGetErrorString(error),
            cudaGetErrorName(error));
  std::_Exit(failed("").exit_code());
}

void cublas_call_failed(const char* call, cublasStatus_t status, const char* file, int line) {
  log_error("{}:{}: {} failed: {}", file, line, call, cublasGetStatusName(status));
  std::_Exit(failed("").exit_code());
}

}  // namespace octet
