// Which limits a benchmark's measurements are put beside.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "bench/limits.h"
#include "bench/timing.h"
#include "kernels/backend.h"
#include "runtime/base/status.h"

namespace octet {

struct LimitRequest {
  std::string device_file;  // a file, or a name of configs/devices; empty: what fits the backend
  int num_devices = 1;      // that work together
  // Where a CPU is measured:
  std::string isa;
  int num_threads = 0;
  BenchClock clock = BenchClock::kWall;
  int64_t probe_bytes = int64_t{1} << 30;
};

// --device-file.
void declare_device_file(CLI::App& app, std::string& device_file);

// The limits of the named device file; else, of a GPU, those of the file in configs/devices that knows it by name, or
// none; else those of this machine's CPU, measured at every call (some 50 ms). Says on the log which.
Result<LimitSource> make_limit_source(const LimitRequest& request, const Backend& backend);

}  // namespace octet
