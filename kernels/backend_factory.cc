#include "kernels/backend_factory.h"

#include <algorithm>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/reference/reference_backend.h"
#ifdef OCTET_CUDA
#include "kernels/cuda/cuda_backend.h"
#endif

namespace octet {
namespace {

#ifdef OCTET_CUDA
constexpr bool kHasCuda = true;
bool gpu_is_here() { return CudaBackend::num_devices() > 0; }
Result<std::unique_ptr<Backend>> make_cuda(int gpu) {
  return CudaBackend::create(gpu % std::max(1, CudaBackend::num_devices()));
}
#else
constexpr bool kHasCuda = false;
bool gpu_is_here() { return false; }
Result<std::unique_ptr<Backend>> make_cuda(int) {
  return invalid_input("--device cuda: this build has no CUDA (cmake --preset cuda builds it); it offers {}",
                       available_devices());
}
#endif

}  // namespace

std::string available_devices() { return kHasCuda ? "cuda, cpu, reference" : "cpu, reference"; }

Result<std::unique_ptr<Backend>> make_backend(const BackendOptions& options) {
  const bool wants_cpu = !options.isa.empty() || !gpu_is_here();
  const std::string device = !options.device.empty() ? options.device : wants_cpu ? "cpu" : "cuda";
  if (device != "cpu" && !options.isa.empty())
    return invalid_input("--isa {}: the {} device has none", options.isa, device);
  if (device == "reference") return std::unique_ptr<Backend>(new ReferenceBackend);
  if (device == "cpu") {
    OCTET_ASSIGN_OR_RETURN(const Isa isa, find_isa(options.isa));
    return std::unique_ptr<Backend>(new CpuBackend(isa, options.num_threads));
  }
  if (device == "cuda") return make_cuda(options.gpu);
  return invalid_input("--device {}: this build offers {}", device, available_devices());
}

}  // namespace octet
