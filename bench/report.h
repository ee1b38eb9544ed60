// The lines of the kernel benchmark: every measurement beside the ceilings that were measured around it.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "bench/ceilings.h"
#include "bench/kernels_bench.h"

namespace octet {

// What one call reads and computes.
struct Work {
  double bytes = 0;
  double operations = 0;
};

// Prints lines as they come, or collects them for JSON.
class KernelReport {
 public:
  KernelReport(const KernelsBenchOptions& options, const Isa& isa, CeilingProbe& probe, int num_threads);

  // Times call(), which returns the work it did, after one call to warm up.
  void measure(const std::string& kernel, const std::string& what, const std::function<Work()>& call);
  // Prints the JSON, if it was asked for.
  void finish() const;

 private:
  const KernelsBenchOptions& options_;
  CeilingProbe& probe_;
  Stopwatch stopwatch_;
  nlohmann::ordered_json json_;
};

}  // namespace octet
