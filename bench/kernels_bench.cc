#include "bench/kernels_bench.h"

#include "bench/attention_bench.h"
#include "bench/products_bench.h"
#include "bench/report.h"
#include "bench/sampling_bench.h"

namespace octet {

Status run_kernels_bench(const KernelsBenchOptions& options, const BenchDevice& device) {
  const std::unique_ptr<Stream> stream = device.backend.make_stream();
  ProductsBench products(options, device.backend, *stream);
  AttentionBench attention(options, device.backend, *stream);
  SamplingBench sampling(options, device.backend, *stream);
  KernelReport report(options, device, *stream);
  OCTET_RETURN_IF_ERROR(products.run(report));
  OCTET_RETURN_IF_ERROR(attention.run(report));
  OCTET_RETURN_IF_ERROR(sampling.run(report));
  report.finish();
  return ok_status();
}

}  // namespace octet
