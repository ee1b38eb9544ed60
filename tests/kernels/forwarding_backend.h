// A backend that hands every operation to another one: to override a single operation of it in a test.
#pragma once

#include <memory>
#include <utility>

#include "kernels/backend.h"

namespace octet {

class ForwardingBackend : public Backend {
 public:
  explicit ForwardingBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}

  std::string_view name() const override { return inner_->name(); }
  MemoryKind memory_kind() const override { return inner_->memory_kind(); }
  std::unique_ptr<Stream> make_stream() override { return inner_->make_stream(); }
  Buffer allocate(size_t bytes) override { return inner_->allocate(bytes); }
  Buffer allocate_host(size_t bytes) override { return inner_->allocate_host(bytes); }
  Weight prepare(const WeightSpec& spec) override { return inner_->prepare(spec); }
  void upload(const void* host, TensorView to, Stream& stream) override { inner_->upload(host, to, stream); }
  void download(TensorView from, void* host, Stream& stream) override { inner_->download(from, host, stream); }
  void copy(TensorView from, TensorView to, Stream& stream) override { inner_->copy(from, to, stream); }
  void convert(TensorView from, TensorView to, Stream& stream) override { inner_->convert(from, to, stream); }
  void round_to_bf16(TensorView x, Stream& stream) override { inner_->round_to_bf16(x, stream); }
  void embed(TensorView ids, TensorView table, TensorView out, Stream& stream) override {
    inner_->embed(ids, table, out, stream);
  }
  void gather_rows(TensorView source, TensorView row_index, TensorView out, Stream& stream) override {
    inner_->gather_rows(source, row_index, out, stream);
  }
  void copy_columns(TensorView source, TensorView out, int64_t first_column, Stream& stream) override {
    inner_->copy_columns(source, out, first_column, stream);
  }
  void add(TensorView x, TensorView delta, Stream& stream) override { inner_->add(x, delta, stream); }
  void rms_norm(TensorView x, TensorView weight, float eps, TensorView y, Stream& stream) override {
    inner_->rms_norm(x, weight, eps, y, stream);
  }
  WeightGroup group(std::vector<Weight> weights) override { return inner_->group(std::move(weights)); }
  Weight replace(WeightGroup& group, size_t index, Weight weight, Stream& stream) override {
    return inner_->replace(group, index, std::move(weight), stream);
  }
  void gemm(TensorView x, const Weight& weight, TensorView y, Stream& stream) override {
    inner_->gemm(x, weight, y, stream);
  }
  void grouped_gemm(TensorView x, const ExpertGroups& groups, const WeightGroup& experts, TensorView y,
                    Stream& stream) override {
    inner_->grouped_gemm(x, groups, experts, y, stream);
  }
  void rope_table(TensorView positions, TensorView inverse_frequency, TensorView table, Stream& stream) override {
    inner_->rope_table(positions, inverse_frequency, table, stream);
  }
  void rope_and_store_kv(TensorView qkv, TensorView table, const PagedBatch& batch, const AttentionShape& shape,
                         const KvCacheView& cache, Stream& stream) override {
    inner_->rope_and_store_kv(qkv, table, batch, shape, cache, stream);
  }
  void paged_attention(TensorView qkv, const PagedBatch& batch, const AttentionShape& shape, const KvCacheView& cache,
                       TensorView out, Stream& stream) override {
    inner_->paged_attention(qkv, batch, shape, cache, out, stream);
  }
  void route_top_k(TensorView logits, TensorView ids, TensorView weights, Stream& stream) override {
    inner_->route_top_k(logits, ids, weights, stream);
  }
  void group_by_expert(TensorView ids, TensorView local_expert, const ExpertGroups& groups, Stream& stream) override {
    inner_->group_by_expert(ids, local_expert, groups, stream);
  }
  void weighted_sum(TensorView y, const WeightedChoices& choices, TensorView out, Stream& stream) override {
    inner_->weighted_sum(y, choices, out, stream);
  }
  void sample(TensorView logits, const SamplingBatch& batch, TensorView out, Stream& stream) override {
    inner_->sample(logits, batch, out, stream);
  }

 protected:
  Backend& inner() { return *inner_; }

 private:
  std::unique_ptr<Backend> inner_;
};

}  // namespace octet
