// The choice of tokens from the logits of a vocabulary, timed.
#pragma once

#include "bench/kernels_bench.h"
#include "bench/report.h"
#include "kernels/backend.h"

namespace octet {

class SamplingBench {
 public:
  SamplingBench(const KernelsBenchOptions& options, Backend& backend, Stream& stream)
      : options_(options), backend_(backend), stream_(stream) {}

  // Of one row and of 32. kFailed where tokens differ from the reference backend's.
  Status run(KernelReport& report);

 private:
  const KernelsBenchOptions& options_;
  Backend& backend_;
  Stream& stream_;
};

}  // namespace octet
