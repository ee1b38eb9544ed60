// Backend: the coarse operations a model layer is made of, on one device. Implementations: reference (a scalar oracle),
// cpu (SIMD). All tensors of a call live on the backend's device; outputs are preallocated and never alias inputs
// unless the operation says so; operations are enqueued on the stream and do not fail (a wrong shape is a failed
// check). Any number of rows is allowed, also zero. Activations are fp32.
//
// The order of floating-point operations is part of each contract where it says so: an element's bits depend neither on
// the number of rows nor on its place among them.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/kv_cache.h"
#include "kernels/sampling.h"
#include "kernels/weight.h"
#include "runtime/base/device.h"
#include "runtime/base/host_memory.h"
#include "runtime/base/status.h"
#include "runtime/base/tensor.h"

namespace octet {

// Consecutive rows of a step that belong to one sequence and stand at consecutive positions.
struct SequenceRows {
  int32_t first_row = 0;
  int32_t num_rows = 0;
  int32_t first_position = 0;  // position of first_row in its sequence
};

// What the rows of a step are, for the operations that read or write the KV cache.
struct PagedBatch {
  std::span<const SequenceRows> sequences;  // host memory; rows ascending, without gaps
  TensorView positions;                     // I32 [rows]
  TensorView page_tables;                   // I32 [num_sequences, max_pages]: the pages of each sequence, in order
};

struct AttentionShape {
  int64_t num_heads = 0;     // query heads on this rank; query head h reads KV head h / (num_heads / num_kv_heads)
  int64_t num_kv_heads = 0;  // KV heads on this rank
  int64_t head_dim = 0;
  int64_t window = 0;  // sliding window: position i sees keys i - window < j <= i; 0: all j <= i
};

// A step's (row, chosen expert) pairs that are computed here, sorted by local expert, then by row.
struct ExpertGroups {
  TensorView offsets;  // I32 [num_local_experts + 1]: the assignments of local expert e are [offsets[e], offsets[e+1])
  TensorView assignment_row;  // I32 [max assignments]: the row of each assignment
  TensorView slots;           // I32 [rows, top_k]: the assignment of each choice, -1 where the expert is not here
  // `offsets` once more, in host memory, where the host knows them; else empty. A product can then be chosen by how
  // many rows each expert really has.
  std::span<const int32_t> host_offsets = {};

  // The same assignments of rows that lie in their order: assignment a is of row a.
  ExpertGroups in_order() const { return {offsets, TensorView{}, slots, host_offsets}; }
};

// How the products of a row's chosen experts are added up.
struct WeightedChoices {
  TensorView slots;                   // I32 [rows, top_k]: where each choice's product is, -1: not added
  TensorView ids;                     // I32 [rows, top_k]: experts, distinct where slots >= 0
  TensorView weights;                 // F32 [rows, top_k]
  DType product_dtype = DType::kF32;  // kBF16: weight · y is rounded once more, to bf16, before it is added
};

// A stream's work that was captured once, to be enqueued again and again as a whole.
class CapturedStep {
 public:
  virtual ~CapturedStep() = default;
  // On the stream that it was captured on.
  virtual void replay(Stream& stream) = 0;
};

// What a model asks of a backend.
struct ModelNeeds {
  WeightFormat weights;  // of all matrices; kF32 where they differ
  DType kv = DType::kF32;
  int64_t head_dim = 0;
  int64_t heads_per_kv_head = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;

  // kInvalidInput says what this backend cannot run, and which flag helps.
  virtual Status check_model(const ModelNeeds&) const { return ok_status(); }
  // The type of KV pages where nobody asks for one.
  virtual DType default_kv_dtype() const { return DType::kF32; }
  // Bytes that allocate can still give; 0 where the system does not say.
  virtual int64_t available_memory() const { return available_host_memory(); }

  // Memory, weights and transfers -------------------------------------------------------------------------------------

  virtual MemoryKind memory_kind() const { return MemoryKind::kHost; }
  // A stream of this device. The backend must outlive it.
  virtual std::unique_ptr<Stream> make_stream() { return std::make_unique<HostStream>(); }
  // Device memory, zeroed.
  virtual Buffer allocate(size_t bytes) = 0;
  // Host memory, zeroed, that transfers reach without a detour.
  virtual Buffer allocate_host(size_t bytes) { return Buffer::host(bytes); }
  Tensor allocate_tensor(DType dtype, Shape shape) {
    Buffer buffer = allocate(static_cast<size_t>(shape.num_elements() * dtype_size(dtype)));
    void* data = buffer.data();
    return {std::move(buffer), {data, dtype, shape}};
  }
  Tensor allocate_host_tensor(DType dtype, Shape shape) {
    Buffer buffer = allocate_host(static_cast<size_t>(shape.num_elements() * dtype_size(dtype)));
    void* data = buffer.data();
    return {std::move(buffer), {data, dtype, shape}};
  }
  // Copies a weight into the layout that gemm and grouped_gemm read. The source is not needed afterwards.
  virtual Weight prepare(const WeightSpec& spec) = 0;
  // Weights of one shape and format, for grouped_gemm.
  virtual WeightGroup group(std::vector<Weight> weights) { return {std::move(weights), {}}; }
  // Puts a weight like the others in the place of one of them, and returns that one. Products that are enqueued on the
  // stream from now on read the new one, those of steps that were captured before, too. The old one must live until
  // what was enqueued earlier is done.
  virtual Weight replace(WeightGroup& group, size_t index, Weight weight, Stream&) {
    return std::exchange(group.weights.at(index), std::move(weight));
  }
  // Copies between host memory and the device. upload reads the host memory before it returns.
  virtual void upload(const void* host, TensorView destination, Stream& stream) = 0;
  virtual void download(TensorView source, void* host, Stream& stream) = 0;
  // Uploads and waits: for what is set up once, before any stream's work reads it.
  void upload_and_wait(const void* host, TensorView destination) {
    const std::unique_ptr<Stream> stream = make_stream();
    upload(host, destination, *stream);
    stream->synchronize();
  }

  // Whether capture is offered.
  virtual bool supports_capture() const { return false; }
  // Records the work that `enqueue` enqueues on the stream instead of doing it (a CUDA graph): operations of this
  // backend and collectives with fixed shapes, no uploads, downloads or waits. The same must have run uncaptured
  // before, and the memory it works on must outlive the result. REQUIRES: supports_capture().
  virtual std::unique_ptr<CapturedStep> capture(Stream&, const std::function<void()>& /*enqueue*/) {
    OCTET_CHECK(false, "{} captures nothing", name());
    return nullptr;
  }

  // Copies on the device; one dtype, as many elements.
  virtual void copy(TensorView source, TensorView destination, Stream& stream) = 0;
  // Copies as many elements from F32 to BF16, to the nearest (ties to even), or from BF16 to F32.
  virtual void convert(TensorView source, TensorView destination, Stream& stream) = 0;
  // Rounds the elements of x (F32) to bf16, in place.
  virtual void round_to_bf16(TensorView x, Stream& stream) = 0;

  // Rows --------------------------------------------------------------------------------------------------------------

  // out[r] = table[ids[r]] as fp32. ids I32 [rows], table [vocab, hidden] kF32/kBF16/kF16, out F32 [rows, hidden].
  virtual void embed(TensorView ids, TensorView table, TensorView out, Stream& stream) = 0;
  // out[r] = source[row_index[r]]. source, out of one dtype, [*, width]; row_index I32 [rows].
  virtual void gather_rows(TensorView source, TensorView row_index, TensorView out, Stream& stream) = 0;
  // out[r, first_column + c] = source[r, c]. F32; source [rows, width], out [rows, at least first_column + width].
  virtual void copy_columns(TensorView source, TensorView out, int64_t first_column, Stream& stream) = 0;
  // x += delta, one rounded addition an element. F32 [rows, width].
  virtual void add(TensorView x, TensorView delta, Stream& stream) = 0;
  // y = x / sqrt(mean(x²) + eps) · weight, mean in a fixed order within the row. x, y F32 [rows, hidden] (y may be x),
  // weight F32 [hidden].
  virtual void rms_norm(TensorView x, TensorView weight, float eps, TensorView y, Stream& stream) = 0;

  // Products ----------------------------------------------------------------------------------------------------------

  // y[r] = weight applied to x[r], as WeightSpec says. x F32 [rows, num_inputs], y F32 [rows, num_outputs].
  virtual void gemm(TensorView x, const Weight& weight, TensorView y, Stream& stream) = 0;
  // For each local expert e and each assignment a in [groups.offsets[e], groups.offsets[e + 1]):
  //   y[a] = experts[e] applied to x[groups.assignment_row[a]], or to x[a] where that is empty (data == nullptr).
  // x F32 [*, num_inputs], y F32 [max assignments, num_outputs]; rows of y behind the last assignment stay as they are.
  // groups.slots is not read. Experts may be gated or plain, all alike. Bits as gemm's.
  virtual void grouped_gemm(TensorView x, const ExpertGroups& groups, const WeightGroup& experts, TensorView y,
                            Stream& stream) = 0;

  // Attention ---------------------------------------------------------------------------------------------------------

  // The rotations of a step: for row r and i < h = head_dim / 2, table[r, i] = f · cos(a), table[r, h + i] = f ·
  // sin(a), a = fp32(positions[r] · inverse_frequency[i]). positions I32 [rows]; inverse_frequency and f:
  // RopeFrequencies in kernels/rope.h; table F32 [rows, head_dim].
  virtual void rope_table(TensorView positions, TensorView inverse_frequency, TensorView table, Stream& stream) = 0;
  // Rotates queries and keys by pairs (i, i + head_dim / 2) and stores keys and values in the cache's pages.
  // qkv F32 [rows, (num_heads + 2 · num_kv_heads) · head_dim]: queries (rotated in place), keys, values.
  // kI8 pages: scale = max|v| / 127 over a head's row, elements rounded to nearest even.
  virtual void rope_and_store_kv(TensorView qkv, TensorView table, const PagedBatch& batch, const AttentionShape& shape,
                                 const KvCacheView& cache, Stream& stream) = 0;
  // Causal attention of each row over the cached keys of its sequence up to its own position.
  // score(j) = (q · head_dim^-1/2) · k_j; keys in blocks of kPageTokens in order within splits of kSplitTokens, by
  // absolute position, with a running maximum (Milakov and Gimelshein, 2018); splits merged in order.
  // qkv as rope_and_store_kv left it; out F32 [rows, num_heads · head_dim].
  virtual void paged_attention(TensorView qkv, const PagedBatch& batch, const AttentionShape& shape,
                               const KvCacheView& cache, TensorView out, Stream& stream) = 0;

  // Mixture of experts ------------------------------------------------------------------------------------------------

  // The top_k largest logits of each row, largest first, ties to the lowest expert id; weights are the softmax over the
  // chosen. logits F32 [rows, num_experts], ids I32 [rows, top_k], weights F32 [rows, top_k].
  virtual void route_top_k(TensorView logits, TensorView ids, TensorView weights, Stream& stream) = 0;
  // Sorts the choices by local expert. ids I32 [rows, top_k]; local_expert I32 [num_experts]: the local index of each
  // expert, -1 where it is not here (an id of -1 is nobody's). Writes what of `groups` is on the device.
  virtual void group_by_expert(TensorView ids, TensorView local_expert, const ExpertGroups& groups, Stream& stream) = 0;
  // out[r] = 0 + Σ weights[r, j] · y[slots[r, j]] over the choices with slots[r, j] >= 0, in ascending expert id, each
  // product rounded before it is added. y F32 [*, hidden], out F32 [rows, hidden].
  virtual void weighted_sum(TensorView y, const WeightedChoices& choices, TensorView out, Stream& stream) = 0;

  // Sampling ----------------------------------------------------------------------------------------------------------

  // Chooses tokens as sample_spec.h says, the same on every backend. logits F32 [rows, vocab], vocab at most
  // kMaxSampledVocab; the batch, in host memory, is read before the call returns; out I8 [num samples,
  // SampledRows::stride(num_top)], num_top at least the batch's most_top().
  virtual void sample(TensorView logits, const SamplingBatch& batch, TensorView out, Stream& stream) = 0;
};

}  // namespace octet
