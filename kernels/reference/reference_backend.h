// The oracle: every operation as plain scalar loops in the order the contract fixes, on one thread. It is what the
// other backends are tested against, and slow enough that nobody should serve with it.
#pragma once

#include "kernels/backend.h"

namespace octet {

class ReferenceBackend : public Backend {
 public:
  std::string_view name() const override { return "reference"; }
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
};

}  // namespace octet
