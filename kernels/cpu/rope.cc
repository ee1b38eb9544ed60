// RoPE and the stores into the KV cache of the cpu backend.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/rope.h"
#include "runtime/base/float16.h"

namespace octet {
namespace {

// Writes one head's vector into slot `slot` of a block, from element `first` on; consecutive elements lie `stride`
// elements apart.
struct HeadStore {
  const KvCacheView& cache;
  int64_t slot;
  int64_t first;
  int64_t stride;

  void operator()(const float* head, std::byte* block) const {
    switch (cache.dtype) {
      case DType::kF32:
        return write(head, reinterpret_cast<float*>(block), [](float v) { return v; });
      case DType::kBF16:
        return write(head, reinterpret_cast<uint16_t*>(block), f32_to_bf16);
      case DType::kI8:
        return write_i8(head, block);
      default:
        OCTET_CHECK(false, "KV pages cannot hold {}", dtype_name(cache.dtype));
    }
  }

 private:
  template <typename T, typename Round>
  void write(const float* head, T* block, const Round& round) const {
    for (int64_t i = 0; i < cache.head_dim; ++i) block[first + i * stride] = round(head[i]);
  }

  void write_i8(const float* head, std::byte* block) const {
    float largest = 0;
    for (int64_t i = 0; i < cache.head_dim; ++i) largest = std::max(largest, std::abs(head[i]));
    const float scale = largest / 127;
    cache.block_scales(block)[slot] = scale;
    // Adding 1.5 · 2^23 leaves no bits below the point: the sum is rounded to the nearest even integer.
    constexpr float kRounder = 0x1.8p23F;
    write(head, reinterpret_cast<int8_t*>(block),
          [scale](float v) { return scale == 0 ? int8_t{0} : static_cast<int8_t>((v / scale + kRounder) - kRounder); });
  }
};

}  // namespace

void CpuBackend::rope_table(TensorView positions, TensorView inverse_frequency, TensorView table, Stream&) {
  const RopeFrequencies frequencies = RopeFrequencies::of(inverse_frequency, table);
  const int64_t half = frequencies.half;
  const int32_t* position = positions.as<int32_t>();
  float* out = table.as<float>();
  for_each_row(table.rows(), 16 * half, [&](int64_t r) {  // a sine costs as much as a handful of other elements
    float* row = out + r * 2 * half;
    const float* frequency = frequencies.of_row(r);
    const float factor = frequencies.factor(r);
    for (int64_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(position[r]) * frequency[i];
      row[i] = std::cos(angle) * factor;
      row[half + i] = std::sin(angle) * factor;
    }
  });
}

void CpuBackend::rope_and_store_kv(TensorView qkv, TensorView table, const PagedBatch& batch,
                                   const AttentionShape& shape, const KvCacheView& cache, Stream&) {
  const int64_t dim = shape.head_dim;
  const int64_t max_pages = batch.page_tables.row_elements();
  const int64_t row_floats = qkv.row_elements();
  float* rows = qkv.as<float>();
  const float* rotations = table.as<float>();
  const int32_t* pages = batch.page_tables.as<int32_t>();
  const int32_t* positions = batch.positions.as<int32_t>();
  const auto process = [&](int64_t r, const int32_t* sequence_pages) {
    float* row = rows + r * row_floats;
    for (int64_t h = 0; h < shape.num_heads + shape.num_kv_heads; ++h) {
      kernels_.rotate(rotations + r * dim, dim / 2, row + h * dim);
    }
    const int64_t page = sequence_pages[positions[r] / kPageTokens];
    const int64_t slot = positions[r] % kPageTokens;
    for (int64_t h = 0; h < shape.num_kv_heads; ++h) {
      const float* key = row + (shape.num_heads + h) * dim;
      HeadStore{cache, slot, slot, kPageTokens}(key, cache.key_block(page, h));
      HeadStore{cache, slot, slot * dim, 1}(key + shape.num_kv_heads * dim, cache.value_block(page, h));
    }
  };
  int64_t num_rows = 0;
  for (const SequenceRows& sequence : batch.sequences) num_rows += sequence.num_rows;
  for_each_row(num_rows, row_floats, [&](int64_t r) {
    const auto after = std::upper_bound(batch.sequences.begin(), batch.sequences.end(), r,
                                        [](int64_t row, const SequenceRows& s) { return row < s.first_row; });
    process(r, pages + (after - batch.sequences.begin() - 1) * max_pages);
  });
}

}  // namespace octet
