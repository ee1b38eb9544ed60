#include "kernels/backend_factory.h"

#include "kernels/reference/reference_backend.h"

namespace octet {

std::string available_devices() { return "reference"; }

Result<std::unique_ptr<Backend>> make_backend(const BackendOptions& options) {
  if (options.device.empty() || options.device == "reference") return std::unique_ptr<Backend>(new ReferenceBackend);
  return invalid_input("--device {}: this build offers {}", options.device, available_devices());
}

}  // namespace octet
