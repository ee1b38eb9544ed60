// The backend of machines without an accelerator: SIMD kernels of the best instruction set the machine has, on a pool
// of threads. Operations have run when they return. In steady state an operation allocates nothing. One thread at a
// time calls a backend.
#pragma once

#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/grouped_product.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/paged_attention.h"
#include "kernels/cpu/row_sampler.h"
#include "runtime/base/thread_pool.h"

namespace octet {

class CpuBackend final : public Backend {
 public:
  // num_threads as ThreadPool's.
  CpuBackend(const Isa& isa, int num_threads);

  std::string_view name() const override { return "cpu"; }
  Buffer allocate(size_t bytes) override { return Buffer::host(bytes); }
  Weight prepare(const WeightSpec& spec) override;
  void upload(const void* host, TensorView destination, Stream& stream) override;
  void download(TensorView source, void* host, Stream& stream) override;
  void copy(TensorView source, TensorView destination, Stream& stream) override;
  void convert(TensorView source, TensorView destination, Stream& stream) override;
  void round_to_bf16(TensorView x, Stream& stream) override;

  void embed(TensorView ids, TensorView table, TensorView out, Stream& stream) override;
  void gather_rows(TensorView source, TensorView row_index, TensorView out, Stream& stream) override;
  void copy_columns(TensorView source, TensorView out, int64_t first_column, Stream& stream) override;
  void add(TensorView x, TensorView delta, Stream& stream) override;
  void rms_norm(TensorView x, TensorView weight, float eps, TensorView y, Stream& stream) override;

  void gemm(TensorView x, const Weight& weight, TensorView y, Stream& stream) override;
  void grouped_gemm(TensorView x, const ExpertGroups& groups, const WeightGroup& experts, TensorView y,
                    Stream& stream) override;

  void rope_table(TensorView positions, TensorView inverse_frequency, TensorView table, Stream& stream) override;
  void rope_and_store_kv(TensorView qkv, TensorView table, const PagedBatch& batch, const AttentionShape& shape,
                         const KvCacheView& cache, Stream& stream) override;
  void paged_attention(TensorView qkv, const PagedBatch& batch, const AttentionShape& shape, const KvCacheView& cache,
                       TensorView out, Stream& stream) override;

  void route_top_k(TensorView logits, TensorView ids, TensorView weights, Stream& stream) override;
  void group_by_expert(TensorView ids, TensorView local_expert, const ExpertGroups& groups, Stream& stream) override;
  void weighted_sum(TensorView y, const WeightedChoices& choices, TensorView out, Stream& stream) override;

  void sample(TensorView logits, const SamplingBatch& batch, TensorView out, Stream& stream) override;

 private:
  // Calls function(row) for every row; on several threads where rows of `row_elements` elements are worth it.
  template <typename Function>
  void for_each_row(int64_t num_rows, int64_t row_elements, const Function& function);

  const KernelTable& kernels_;
  ThreadPool pool_;
  GroupedProduct product_;
  PagedAttention attention_;
  std::vector<int32_t> next_slot_;    // of group_by_expert, one an expert
  std::vector<RowSampler> samplers_;  // one a thread
};

template <typename Function>
void CpuBackend::for_each_row(int64_t num_rows, int64_t row_elements, const Function& function) {
  // Elements of a task: long against waking a thread.
  constexpr int64_t kTaskElements = 16 << 10;
  const int64_t task_rows = row_elements >= kTaskElements ? 1 : (kTaskElements + row_elements - 1) / row_elements;
  pool_.parallel_for((num_rows + task_rows - 1) / task_rows, [&](int64_t task, int) {
    const int64_t end = task * task_rows + task_rows < num_rows ? task * task_rows + task_rows : num_rows;
    for (int64_t row = task * task_rows; row < end; ++row) function(row);
  });
}

}  // namespace octet
