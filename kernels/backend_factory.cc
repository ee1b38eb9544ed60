#include "kernels/backend_factory.h"

#include "kernels/cpu/cpu_backend.h"
#include "kernels/reference/reference_backend.h"

namespace octet {

std::string available_devices() { return "cpu, reference"; }

Result<std::unique_ptr<Backend>> make_backend(const BackendOptions& options) {
  if (options.device == "reference") {
    if (!options.isa.empty()) return invalid_input("--isa {}: the reference device has none", options.isa);
    return std::unique_ptr<Backend>(new ReferenceBackend);
  }
  if (options.device.empty() || options.device == "cpu") {
    OCTET_ASSIGN_OR_RETURN(const Isa isa, find_isa(options.isa));
    return std::unique_ptr<Backend>(new CpuBackend(isa, options.num_threads));
  }
  return invalid_input("--device {}: this build offers {}", options.device, available_devices());
}

}  // namespace octet
