// The layout of the paged KV cache, the same for every backend.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/base/tensor.h"

namespace octet {

// Tokens a page holds; also the number of keys in a block of attention.
inline constexpr int64_t kPageTokens = 64;
// Pages that hold `num_tokens` tokens of a sequence.
constexpr int64_t pages_for(int64_t num_tokens) { return (num_tokens + kPageTokens - 1) / kPageTokens; }
// Absolute positions in one split of attention: blocks are folded in order within a split, splits are merged in order.
inline constexpr int64_t kSplitTokens = 1024;

// The pages of one layer on one rank. Position p of a sequence lies in page page_table[p / kPageTokens], slot
// p % kPageTokens. A (page, KV head) pair is one block of bytes:
//   keys:   elements [head_dim, kPageTokens] (a key is a column: scores of 64 keys are computed in lanes)
//   values: elements [kPageTokens, head_dim]
// followed, for kI8, by kPageTokens fp32 scales, one a token (value = scale · element).
struct KvCacheView {
  std::byte* keys = nullptr;
  std::byte* values = nullptr;
  DType dtype = DType::kF32;  // kF32, kBF16 or kI8
  int64_t num_pages = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;

  static constexpr int64_t block_bytes(DType dtype, int64_t head_dim) {
    return kPageTokens * (head_dim * dtype_size(dtype) + (dtype == DType::kI8 ? 4 : 0));
  }
  // Bytes of one page of this layer, keys or values alone.
  int64_t page_bytes() const { return num_kv_heads * block_bytes(dtype, head_dim); }
  std::byte* key_block(int64_t page, int64_t kv_head) const {
    return keys + page * page_bytes() + kv_head * block_bytes(dtype, head_dim);
  }
  std::byte* value_block(int64_t page, int64_t kv_head) const {
    return values + page * page_bytes() + kv_head * block_bytes(dtype, head_dim);
  }
  // Of a kI8 block: its kPageTokens scales.
  float* block_scales(std::byte* block) const { return reinterpret_cast<float*>(block + kPageTokens * head_dim); }
};

}  // namespace octet
