// CountingBackend: a device that is only planned. It counts what is allocated, touches no memory, and computes nothing:
// a model made over it tells what one takes that is made over such a device. Operations are failed checks.
#pragma once

#include "kernels/backend.h"
#include "kernels/planned_device.h"

namespace octet {

class CountingBackend final : public Backend {
 public:
  explicit CountingBackend(const PlannedDevice& device) : device_(device) {}

  // Bytes of the device's memory: of a host all that is allocated, of a GPU nothing that is on its host.
  int64_t allocated() const { return allocated_; }
  // Counts what products of the experts keep beside their operands, for at most so many assignments of rows of `hidden`
  // elements, with `ffn` elements between.
  void add_expert_products(int64_t max_assignments, int64_t hidden, int64_t ffn);

  std::string_view name() const override { return "planned"; }
  MemoryKind memory_kind() const override { return device_.memory; }
  bool supports_capture() const override { return device_.captures; }
  // A buffer of this size that is nowhere.
  Buffer allocate(size_t bytes) override;
  Buffer allocate_host(size_t bytes) override;
  void upload(const void*, TensorView, Stream&) override {}

  Weight prepare(const WeightSpec&) override { refuse(); }
  void download(TensorView, void*, Stream&) override { refuse(); }
  void copy(TensorView, TensorView, Stream&) override { refuse(); }
  void convert(TensorView, TensorView, Stream&) override { refuse(); }
  void round_to_bf16(TensorView, Stream&) override { refuse(); }
  void embed(TensorView, TensorView, TensorView, Stream&) override { refuse(); }
  void gather_rows(TensorView, TensorView, TensorView, Stream&) override { refuse(); }
  void copy_columns(TensorView, TensorView, int64_t, Stream&) override { refuse(); }
  void add(TensorView, TensorView, Stream&) override { refuse(); }
  void rms_norm(TensorView, TensorView, float, TensorView, Stream&) override { refuse(); }
  void gemm(TensorView, const Weight&, TensorView, Stream&) override { refuse(); }
  void grouped_gemm(TensorView, const ExpertGroups&, const WeightGroup&, TensorView, Stream&) override { refuse(); }
  void rope_table(TensorView, TensorView, TensorView, Stream&) override { refuse(); }
  void rope_and_store_kv(TensorView, TensorView, const PagedBatch&, const AttentionShape&, const KvCacheView&,
                         Stream&) override {
    refuse();
  }
  void paged_attention(TensorView, const PagedBatch&, const AttentionShape&, const KvCacheView&, TensorView,
                       Stream&) override {
    refuse();
  }
  void route_top_k(TensorView, TensorView, TensorView, Stream&) override { refuse(); }
  void group_by_expert(TensorView, TensorView, const ExpertGroups&, Stream&) override { refuse(); }
  void weighted_sum(TensorView, const WeightedChoices&, TensorView, Stream&) override { refuse(); }
  void sample(TensorView, const SamplingBatch&, TensorView, Stream&) override { refuse(); }

 private:
  [[noreturn]] static void refuse();

  PlannedDevice device_;
  int64_t allocated_ = 0;
};

}  // namespace octet
