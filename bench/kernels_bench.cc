#include "bench/kernels_bench.h"

#include "bench/attention_bench.h"
#include "bench/ceilings.h"
#include "bench/products_bench.h"
#include "bench/report.h"
#include "kernels/cpu/cpu_backend.h"

namespace octet {

Status run_kernels_bench(const KernelsBenchOptions& options) {
  OCTET_ASSIGN_OR_RETURN(const Isa isa, find_isa(options.isa));
  CpuBackend backend(isa, options.num_threads);
  ThreadPool pool(options.num_threads);
  CeilingProbe probe(isa.kernels(), pool, options.clock, CeilingsOptions().memory_bytes);
  ProductsBench products(options, backend);
  AttentionBench attention(options, backend);
  OCTET_RETURN_IF_ERROR(products.check());
  OCTET_RETURN_IF_ERROR(attention.check());
  KernelReport report(options, isa, probe, pool.num_threads());
  products.run(report);
  attention.run(report);
  report.finish();
  return ok_status();
}

}  // namespace octet
