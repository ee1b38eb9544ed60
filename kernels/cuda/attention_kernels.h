// Launches of RoPE, the paged KV cache and attention. All pointers are device memory; zero rows launch nothing.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace octet::cuda {

inline constexpr int kTokensPerPage = 64;
inline constexpr int kMaxHeadDim = 128;

// One layer's pages as KvCacheView has them, bf16 or int8.
struct KvPages {
  std::byte* keys;
  std::byte* values;
  int64_t page_bytes;   // keys or values of a page, all KV heads
  int64_t block_bytes;  // of one (page, KV head)
  bool is_int8;         // with scales behind the elements of a block
};

struct HeadShape {
  int num_heads;
  int num_kv_heads;
  int head_dim;
  int window;  // 0: none
};

struct RopeTableArgs {
  const int32_t* positions;
  const float* inverse_frequency;  // of row r at r · stride: half frequencies, then the factor where there is one
  float* table;                    // [num_rows, 2 · half]
  int num_rows;
  int half;
  int stride;       // 0: all rows have the same
  bool has_factor;  // of cosines and sines
};
void rope_table(const RopeTableArgs& args, cudaStream_t stream);

struct StoreKvArgs {
  float* qkv;  // [num_rows, (num_heads + 2 · num_kv_heads) · head_dim]
  const float* rope_table;
  const int32_t* positions;
  const int32_t* sequence_of_row;  // null: row r is of sequence r
  const int32_t* page_tables;      // [*, max_pages]
  KvPages pages;
  HeadShape shape;
  int num_rows;
  int max_pages;
};
void rope_and_store_kv(const StoreKvArgs& args, cudaStream_t stream);

// What both attention kernels read and write.
struct AttentionArgs {
  const float* qkv;
  const int32_t* positions;
  const int32_t* page_tables;
  float* out;  // [*, num_heads · head_dim]
  KvPages pages;
  HeadShape shape;
  float scale;  // of scores, times log2(e): exponentials are powers of two
  int max_pages;
};

// A row that is computed on its own.
struct DecodeRow {
  int32_t row;
  int32_t sequence;
};

struct DecodeArgs {
  AttentionArgs common;
  const DecodeRow* rows;  // null: row r is of sequence r
  int num_rows;
  // The pages of a row are cut into num_splits parts of split_pages, counted from position 0.
  int num_splits;
  int split_pages;
  float* partials;  // decode_partial_floats() of memory, if there are several splits
};
// Fewest parts that fill the device, of at most kMaxSplitPages pages. Depends on counts alone, not on lengths.
void choose_splits(int num_multiprocessors, DecodeArgs& args);
int64_t decode_partial_floats(const DecodeArgs& args);
void decode_attention(const DecodeArgs& args, cudaStream_t stream);

// Rows of one sequence that a block computes together.
struct PrefillTile {
  int32_t sequence;
  int32_t first_row;
  int32_t num_rows;  // at most prefill_tile_rows()
  int32_t first_position;
};
// Query heads of one KV head and consecutive rows share a block's 64 rows of scores.
inline constexpr int kPrefillTileHeads = 64;
constexpr int prefill_tile_rows(const HeadShape& shape) {
  return kPrefillTileHeads / (shape.num_heads / shape.num_kv_heads);
}

struct PrefillArgs {
  AttentionArgs common;
  const PrefillTile* tiles;
  int num_tiles;
};
void prefill_attention(const PrefillArgs& args, cudaStream_t stream);

}  // namespace octet::cuda
