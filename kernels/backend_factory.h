// The one place where a backend is chosen.
#pragma once

#include <memory>
#include <string>

#include "kernels/backend.h"
#include "runtime/base/status.h"

namespace octet {

struct BackendOptions {
  std::string device;   // "cuda", "cpu", "reference"; empty: the best this machine has
  int num_threads = 0;  // threads of the cpu backend; 0: num_available_cpus()
  std::string isa;      // instruction set of the cpu backend: "avx2", "avx512"; empty: the best this machine has
  int gpu = 0;          // index of the GPU of the cuda backend, counted round those that the process sees: a launcher
                        // may show each rank only its own
};

// The names that BackendOptions::device may take in this build.
std::string available_devices();

Result<std::unique_ptr<Backend>> make_backend(const BackendOptions& options);

}  // namespace octet
