// RoPE, the paged KV cache and attention of the reference backend.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/reference/reference_backend.h"
#include "kernels/rope.h"
#include "runtime/base/float16.h"

namespace octet {
namespace {

// Writes one head's vector into slot `slot` of a block; consecutive elements lie `stride` elements apart.
void store_head(const KvCacheView& cache, std::byte* block, int64_t first_element, int64_t stride, int64_t slot,
                const float* head) {
  float scale = 1;
  if (cache.dtype == DType::kI8) {
    float largest = 0;
    for (int64_t i = 0; i < cache.head_dim; ++i) largest = std::max(largest, std::abs(head[i]));
    scale = largest / 127;
    cache.block_scales(block)[slot] = scale;
  }
  for (int64_t i = 0; i < cache.head_dim; ++i) {
    const int64_t at = first_element + i * stride;
    if (cache.dtype == DType::kI8) {
      reinterpret_cast<int8_t*>(block)[at] = static_cast<int8_t>(scale == 0 ? 0 : std::nearbyint(head[i] / scale));
    } else {
      write_from_f32(&head[i], 1, cache.dtype, block + at * dtype_size(cache.dtype));
    }
  }
}

float load_element(const KvCacheView& cache, std::byte* block, int64_t at, int64_t slot) {
  if (cache.dtype == DType::kI8)
    return static_cast<float>(reinterpret_cast<int8_t*>(block)[at]) * cache.block_scales(block)[slot];
  float value;
  read_as_f32(block + at * dtype_size(cache.dtype), cache.dtype, 1, &value);
  return value;
}

void rotate(float* head, const float* row_table, int64_t head_dim) {
  const int64_t half = head_dim / 2;
  for (int64_t i = 0; i < half; ++i) {
    const float a = head[i];
    const float b = head[half + i];
    head[i] = a * row_table[i] - b * row_table[half + i];
    head[half + i] = b * row_table[i] + a * row_table[half + i];
  }
}

// The running state of softmax-weighted values: their sum is `values / total`, relative to exp(maximum).
struct Partial {
  explicit Partial(int64_t head_dim) : values(static_cast<size_t>(head_dim), 0.0F) {}
  float maximum = -std::numeric_limits<float>::infinity();
  float total = 0;
  std::vector<float> values;

  void rescale_to(float new_maximum) {
    const float factor = std::exp(maximum - new_maximum);
    total *= factor;
    for (float& v : values) v *= factor;
    maximum = new_maximum;
  }
};

// One (row, head): its query, and where its keys are.
struct Query {
  const float* q;               // [head_dim], scaled
  int64_t first_key, last_key;  // visible keys, absolute positions, both included
  const int32_t* pages;
  int64_t kv_head;
};

// Folds the visible keys of one page into `partial`.
void fold_block(const KvCacheView& cache, const Query& query, int64_t page_index, Partial& partial) {
  const int64_t first_position = page_index * kPageTokens;
  const int64_t begin = std::max(query.first_key - first_position, int64_t{0});
  const int64_t end = std::min(query.last_key - first_position + 1, kPageTokens);
  if (begin >= end) return;
  std::byte* keys = cache.key_block(query.pages[page_index], query.kv_head);
  std::byte* values = cache.value_block(query.pages[page_index], query.kv_head);
  float scores[kPageTokens];
  float maximum = -std::numeric_limits<float>::infinity();
  for (int64_t j = begin; j < end; ++j) {
    float score = 0;
    for (int64_t i = 0; i < cache.head_dim; ++i)
      score += query.q[i] * load_element(cache, keys, i * kPageTokens + j, j);
    scores[j] = score;
    maximum = std::max(maximum, score);
  }
  partial.rescale_to(std::max(partial.maximum, maximum));
  for (int64_t j = begin; j < end; ++j) {
    const float p = std::exp(scores[j] - partial.maximum);
    partial.total += p;
    for (int64_t i = 0; i < cache.head_dim; ++i) {
      partial.values[static_cast<size_t>(i)] += p * load_element(cache, values, j * cache.head_dim + i, j);
    }
  }
}

void attend(const KvCacheView& cache, const Query& query, float* out) {
  constexpr int64_t kSplitPages = kSplitTokens / kPageTokens;
  Partial merged(cache.head_dim);
  const int64_t last_page = query.last_key / kPageTokens;
  for (int64_t split = query.first_key / kSplitTokens; split <= query.last_key / kSplitTokens; ++split) {
    Partial partial(cache.head_dim);
    const int64_t end = std::min((split + 1) * kSplitPages, last_page + 1);
    for (int64_t page = split * kSplitPages; page < end; ++page) fold_block(cache, query, page, partial);
    const float maximum = std::max(merged.maximum, partial.maximum);
    merged.rescale_to(maximum);
    partial.rescale_to(maximum);
    merged.total += partial.total;
    for (size_t i = 0; i < merged.values.size(); ++i) merged.values[i] += partial.values[i];
  }
  for (size_t i = 0; i < merged.values.size(); ++i) out[i] = merged.values[i] / merged.total;
}

}  // namespace

void ReferenceBackend::rope_table(TensorView positions, TensorView inverse_frequency, TensorView table, Stream&) {
  const RopeFrequencies frequencies = RopeFrequencies::of(inverse_frequency, table);
  const int64_t half = frequencies.half;
  for (int64_t r = 0; r < table.rows(); ++r) {
    float* row = table.as<float>() + r * 2 * half;
    for (int64_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(positions.as<int32_t>()[r]) * frequencies.of_row(r)[i];
      row[i] = std::cos(angle) * frequencies.factor(r);
      row[half + i] = std::sin(angle) * frequencies.factor(r);
    }
  }
}

void ReferenceBackend::rope_and_store_kv(TensorView qkv, TensorView table, const PagedBatch& batch,
                                         const AttentionShape& shape, const KvCacheView& cache, Stream&) {
  const int64_t dim = shape.head_dim;
  const int64_t max_pages = batch.page_tables.row_elements();
  for (size_t s = 0; s < batch.sequences.size(); ++s) {
    const SequenceRows& rows = batch.sequences[s];
    const int32_t* pages = batch.page_tables.as<int32_t>() + static_cast<int64_t>(s) * max_pages;
    for (int64_t r = rows.first_row; r < rows.first_row + rows.num_rows; ++r) {
      float* row = qkv.as<float>() + r * qkv.row_elements();
      const float* row_table = table.as<float>() + r * dim;
      const int64_t position = batch.positions.as<int32_t>()[r];
      const int64_t slot = position % kPageTokens;
      for (int64_t h = 0; h < shape.num_heads + shape.num_kv_heads; ++h) rotate(row + h * dim, row_table, dim);
      for (int64_t h = 0; h < shape.num_kv_heads; ++h) {
        const float* key = row + (shape.num_heads + h) * dim;
        const int64_t page = pages[position / kPageTokens];
        store_head(cache, cache.key_block(page, h), slot, kPageTokens, slot, key);
        store_head(cache, cache.value_block(page, h), slot * dim, 1, slot, key + shape.num_kv_heads * dim);
      }
    }
  }
}

void ReferenceBackend::paged_attention(TensorView qkv, const PagedBatch& batch, const AttentionShape& shape,
                                       const KvCacheView& cache, TensorView out, Stream&) {
  const int64_t dim = shape.head_dim;
  const float scale = 1.0F / std::sqrt(static_cast<float>(dim));
  const int64_t max_pages = batch.page_tables.row_elements();
  std::vector<float> q(static_cast<size_t>(dim));
  for (size_t s = 0; s < batch.sequences.size(); ++s) {
    const SequenceRows& rows = batch.sequences[s];
    const int32_t* pages = batch.page_tables.as<int32_t>() + static_cast<int64_t>(s) * max_pages;
    for (int64_t r = rows.first_row; r < rows.first_row + rows.num_rows; ++r) {
      const int64_t position = batch.positions.as<int32_t>()[r];
      const int64_t first_key = shape.window > 0 ? std::max(position - shape.window + 1, int64_t{0}) : 0;
      for (int64_t h = 0; h < shape.num_heads; ++h) {
        const float* head = qkv.as<float>() + r * qkv.row_elements() + h * dim;
        std::transform(head, head + dim, q.begin(), [scale](float v) { return v * scale; });
        const Query query{q.data(), first_key, position, pages, h / (shape.num_heads / shape.num_kv_heads)};
        attend(cache, query, out.as<float>() + (r * shape.num_heads + h) * dim);
      }
    }
  }
}

}  // namespace octet
