// The lines of the kernel benchmark: every measurement beside the device's limits.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

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
  KernelReport(const KernelsBenchOptions& options, const BenchDevice& device, Stream& stream);

  // Times `calls` calls of call(), which enqueues `work` on the stream, after one to warm up.
  void measure(const std::string& kernel, const std::string& what, const Work& work, const std::function<void()>& call,
               int calls = 1);
  // Prints the JSON, if it was asked for.
  void finish() const;

 private:
  double time(const std::function<void()>& enqueue) const;

  const KernelsBenchOptions& options_;
  const BenchDevice& device_;
  Stream& stream_;
  Stopwatch stopwatch_;
  nlohmann::ordered_json json_;
};

}  // namespace octet
