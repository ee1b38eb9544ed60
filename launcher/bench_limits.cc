#include "launcher/bench_limits.h"

#include "bench/ceilings.h"
#include "launcher/device_file.h"
#include "runtime/base/log.h"

namespace octet {
namespace {

LimitSource stated_limits(const DeviceCeilings& device, int num_devices) {
  log_info("limits: {} x {}, read {:.0f} GB/s and products {:.1f} TFLOP/s each", num_devices, device.name,
           device.read_bytes_per_second / 1e9, device.product_operations_per_second / 1e12);
  const Limits limits{num_devices * device.read_bytes_per_second, num_devices * device.product_operations_per_second};
  return [limits] { return limits; };
}

Result<LimitSource> measured_limits(const LimitRequest& request) {
  struct Measuring {
    Measuring(const Isa& isa, const LimitRequest& request)
        : pool(request.num_threads), probe(isa, pool, request.clock, request.probe_bytes) {}
    ThreadPool pool;
    CeilingProbe probe;
  };
  OCTET_ASSIGN_OR_RETURN(const Isa isa, find_isa(request.isa));
  log_info("limits: of this machine, measured in between");
  return LimitSource([measuring = std::make_shared<Measuring>(isa, request)]() -> std::optional<Limits> {
    const Ceilings ceilings = measuring->probe.measure();
    return Limits{ceilings.read_bytes_per_second, ceilings.f32_operations_per_second};
  });
}

// "NVIDIA H200" of "cuda (NVIDIA H200)".
std::string_view gpu_name(const Backend& backend) {
  const std::string_view name = backend.name();
  const size_t begin = name.find('(');
  return begin == std::string_view::npos ? name : name.substr(begin + 1, name.rfind(')') - begin - 1);
}

}  // namespace

void declare_device_file(CLI::App& app, std::string& device_file) {
  app.add_option("--device-file", device_file,
                 "limits to compare with: a file, or a name of configs/devices (a100-80gb, h100-sxm, h200) (default: a "
                 "GPU's by its name, a CPU's measured in between)")
      ->type_name("FILE");
}

Result<LimitSource> make_limit_source(const LimitRequest& request, const Backend& backend) {
  if (!request.device_file.empty()) {
    OCTET_ASSIGN_OR_RETURN(const DeviceCeilings device, read_device_file(request.device_file));
    return stated_limits(device, request.num_devices);
  }
  if (backend.memory_kind() == MemoryKind::kHost) return measured_limits(request);
  OCTET_ASSIGN_OR_RETURN(const auto device, find_device_file(gpu_name(backend)));
  if (device) return stated_limits(*device, request.num_devices);
  log_info("limits: none are known of {}; --device-file states them", gpu_name(backend));
  return LimitSource([] { return std::optional<Limits>(); });
}

}  // namespace octet
