// The backend of one NVIDIA GPU of compute capability 8.0 or newer.
//
// Numbers. Activations between operations are fp32: residual stream, norms, router logits, attention's outputs. Weights
// are kept in 16 bits, bf16 or fp16. A product rounds its rows of activations to the weights' type, multiplies on
// tensor cores and sums in fp32; a product with at most kMaxThinOutputs outputs (the router) leaves them fp32 and is
// computed in fp32. Experts with many rows that the host can count are cuBLAS's (grouped_blas.h), whose results are
// rounded to the weights' type once more. partial_bounds of a weight are not used: there is one chain of sums. Pages of
// the KV cache are bf16 or int8; attention of single rows works in fp32 on what pages hold, attention of prompts rounds
// queries and softmax weights to bf16 for the tensor cores. The same calls give the same bits (no floating-point
// atomics anywhere, cuBLAS on one stream with a workspace of its own); other numbers of rows may take another kernel
// and differ in the last bits of 16-bit rounding.
//
// Operations allocate only while the largest step so far grows. Of a batch whose rows are one of each sequence, in
// order, nothing but counts is read on the host, so such steps can be recorded in a CUDA graph once they have run.
//
// Errors of CUDA end the process with one line (cuda_check.h). One thread at a time calls a backend; any thread may.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/cuda_stream.h"
#include "runtime/base/status.h"

namespace octet {

class CudaBackend final : public Backend {
 public:
  // GPUs this process sees; 0 where there is no driver or no device.
  static int num_devices();
  // device: index of the GPU. kInvalidInput where there is none, or where it is too old.
  static Result<std::unique_ptr<Backend>> create(int device);

  std::string_view name() const override { return name_; }
  Status check_model(const ModelNeeds& needs) const override;
  DType default_kv_dtype() const override { return DType::kBF16; }
  int64_t available_memory() const override;

  MemoryKind memory_kind() const override { return MemoryKind::kCuda; }
  std::unique_ptr<Stream> make_stream() override { return std::make_unique<CudaStream>(device_); }
  Buffer allocate(size_t bytes) override;
  Buffer allocate_host(size_t bytes) override;
  Weight prepare(const WeightSpec& spec) override;
  WeightGroup group(std::vector<Weight> weights) override;
  Weight replace(WeightGroup& group, size_t index, Weight weight, Stream& stream) override;
  void upload(const void* host, TensorView destination, Stream& stream) override;
  void download(TensorView source, void* host, Stream& stream) override;
  bool supports_capture() const override { return true; }
  std::unique_ptr<CapturedStep> capture(Stream& stream, const std::function<void()>& enqueue) override;
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
  CudaBackend(int device, std::string name, int num_multiprocessors);

  // The stream an operation was given, its device made the calling thread's.
  CudaStream& use(Stream& stream) const;
  // Rows of x rounded to the weight's type in scratch memory, padded to its stride.
  const void* narrow(TensorView x, const Weight& weight, CudaStream& stream) const;

  int device_;
  std::string name_;
  int num_multiprocessors_;
  CudaStream loader_;  // of prepare
};

}  // namespace octet
