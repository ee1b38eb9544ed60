// RoPE, the KV cache and attention of the CUDA backend.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/rope.h"

namespace octet {
namespace {

static_assert(cuda::kTokensPerPage == kPageTokens);

cuda::KvPages kv_pages(const KvCacheView& cache) {
  OCTET_CHECK(cache.dtype == DType::kBF16 || cache.dtype == DType::kI8, "pages of {}", dtype_name(cache.dtype));
  return {cache.keys, cache.values, cache.page_bytes(), KvCacheView::block_bytes(cache.dtype, cache.head_dim),
          cache.dtype == DType::kI8};
}

cuda::HeadShape head_shape(const AttentionShape& shape) {
  OCTET_CHECK(shape.head_dim <= cuda::kMaxHeadDim, "heads of {}", shape.head_dim);
  return {static_cast<int>(shape.num_heads), static_cast<int>(shape.num_kv_heads), static_cast<int>(shape.head_dim),
          static_cast<int>(shape.window)};
}

// Whether row r is of sequence r, for all rows.
bool one_row_each(const PagedBatch& batch) { return std::ssize(batch.sequences) == batch.positions.num_elements(); }

template <typename T>
const T* upload_list(const std::vector<T>& list, void* device, CudaStream& stream) {
  stream.upload(list.data(), device, list.size() * sizeof(T));
  return static_cast<const T*>(device);
}

// The rows of a batch, by the kernel that suits them.
struct Division {
  std::vector<cuda::DecodeRow> decode;
  std::vector<cuda::PrefillTile> prefill;
};

Division divide(const PagedBatch& batch, const cuda::HeadShape& shape) {
  Division division;
  const int most = cuda::prefill_tile_rows(shape);
  for (int32_t s = 0; s < static_cast<int32_t>(batch.sequences.size()); ++s) {
    const SequenceRows& rows = batch.sequences[static_cast<size_t>(s)];
    if (rows.num_rows == 1) division.decode.push_back({rows.first_row, s});
    for (int32_t done = 0; rows.num_rows > 1 && done < rows.num_rows; done += most) {
      division.prefill.push_back(
          {s, rows.first_row + done, std::min(most, rows.num_rows - done), rows.first_position + done});
    }
  }
  return division;
}

}  // namespace

void CudaBackend::rope_table(TensorView positions, TensorView inverse_frequency, TensorView table, Stream& stream) {
  const RopeFrequencies frequencies = RopeFrequencies::of(inverse_frequency, table);
  cuda::rope_table(
      {positions.as<int32_t>(), frequencies.values, table.as<float>(), static_cast<int>(table.rows()),
       static_cast<int>(frequencies.half), static_cast<int>(frequencies.stride), frequencies.width > frequencies.half},
      use(stream).get());
}

void CudaBackend::rope_and_store_kv(TensorView qkv, TensorView table, const PagedBatch& batch,
                                    const AttentionShape& shape, const KvCacheView& cache, Stream& stream) {
  CudaStream& on = use(stream);
  if (qkv.rows() == 0) return;
  const int32_t* sequence_of_row = nullptr;
  if (!one_row_each(batch)) {
    std::vector<int32_t> sequences;
    for (int32_t s = 0; s < static_cast<int32_t>(batch.sequences.size()); ++s)
      sequences.insert(sequences.end(), static_cast<size_t>(batch.sequences[static_cast<size_t>(s)].num_rows), s);
    sequence_of_row =
        upload_list(sequences, on.scratch(CudaStream::Scratch::kBatch, sequences.size() * sizeof(int32_t)), on);
  }
  cuda::rope_and_store_kv({qkv.as<float>(), table.as<float>(), batch.positions.as<int32_t>(), sequence_of_row,
                           batch.page_tables.as<int32_t>(), kv_pages(cache), head_shape(shape),
                           static_cast<int>(qkv.rows()), static_cast<int>(batch.page_tables.row_elements())},
                          on.get());
}

void CudaBackend::paged_attention(TensorView qkv, const PagedBatch& batch, const AttentionShape& shape,
                                  const KvCacheView& cache, TensorView out, Stream& stream) {
  CudaStream& on = use(stream);
  if (qkv.rows() == 0) return;
  const float scale = static_cast<float>(std::numbers::log2e / std::sqrt(static_cast<double>(shape.head_dim)));
  const cuda::AttentionArgs common{qkv.as<float>(),
                                   batch.positions.as<int32_t>(),
                                   batch.page_tables.as<int32_t>(),
                                   out.as<float>(),
                                   kv_pages(cache),
                                   head_shape(shape),
                                   scale,
                                   static_cast<int>(batch.page_tables.row_elements())};
  const auto decode = [&](const cuda::DecodeRow* rows, int64_t count) {
    if (count == 0) return;
    cuda::DecodeArgs args{common, rows, static_cast<int>(count), 0, 0, nullptr};
    cuda::choose_splits(num_multiprocessors_, args);
    const auto bytes = static_cast<size_t>(cuda::decode_partial_floats(args)) * sizeof(float);
    args.partials = static_cast<float*>(on.scratch(CudaStream::Scratch::kPartials, bytes));
    cuda::decode_attention(args, on.get());
  };
  if (one_row_each(batch)) {
    decode(nullptr, qkv.rows());
    return;
  }
  const Division division = divide(batch, common.shape);
  const size_t tile_bytes = division.prefill.size() * sizeof(cuda::PrefillTile);
  const size_t row_bytes = division.decode.size() * sizeof(cuda::DecodeRow);
  auto* memory = static_cast<std::byte*>(on.scratch(CudaStream::Scratch::kBatch, tile_bytes + row_bytes));
  const auto* tiles = upload_list(division.prefill, memory, on);
  cuda::prefill_attention({common, tiles, static_cast<int>(division.prefill.size())}, on.get());
  decode(upload_list(division.decode, memory + tile_bytes, on), std::ssize(division.decode));
}

}  // namespace octet
