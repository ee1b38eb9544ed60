// What one instruction set offers to the cpu backend: plain functions on raw memory, single-threaded. The translation
// unit of every instruction set fills one table from the same templates, so every table computes the same bits.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace octet {

// Output columns of a packed weight block: what one register tile spans.
inline constexpr int64_t kBlockColumns = 32;
// Upper bound of the rows of a register tile in any instruction set.
inline constexpr int kMaxTileRows = 14;

// Element types of weights and KV pages that the kernels read, as indexes of the table.
enum class Element : uint8_t { kF32, kBF16, kF16, kI8 };
inline constexpr size_t kNumWeightElements = 3;

// A run of packed column blocks times one tile of rows; continues the chains that `sums` holds, or starts them from +0.
// For block b < num_blocks, row r < the tile's rows, column c < 32:
//   sums[(b · rows + r) · 32 + c] += Σ over k < depth of a[k · rows + r] · weight(b, k, c),
// each a chain of fused multiply-adds in ascending k.
struct PackedProduct {
  const float* a = nullptr;            // [depth, rows]
  const std::byte* weights = nullptr;  // first k of the first block; see packed_weight.h
  int64_t block_bytes = 0;             // from one block to the next
  int64_t num_blocks = 0;
  int64_t depth = 0;
  float* sums = nullptr;  // [num_blocks, rows, 32]
  bool start = false;
  // Memory to fetch meanwhile, for the first block; the next block's lies block_bytes behind. At step k the cache line
  // (of kF32: the two lines) at prefetch + k · prefetch_step.
  const std::byte* prefetch = nullptr;
  int64_t prefetch_step = 0;
};

// A panel of fp32 columns times one tile of rows; continues the chains that `sums` holds, or starts them from +0.
//   sums[r · sums_stride + c] += Σ over k < depth of a(r, k) · b[k · b_stride + c], c < 32
struct PanelProduct {
  const float* a = nullptr;
  const float* b = nullptr;
  int64_t b_stride = 0;
  int64_t depth = 0;
  float* sums = nullptr;
  int64_t sums_stride = 0;
  bool start = false;
  const std::byte* prefetch = nullptr;  // memory to fetch meanwhile, 128 bytes a step; null: none
};

using PackedKernel = void (*)(const PackedProduct&);
using PanelKernel = void (*)(const PanelProduct&);

// The running state of softmax over the keys of one query.
struct SoftmaxState {
  float maximum = 0;
  float total = 0;
};

// How logits become weights.
struct SoftmaxScale {
  float largest = 0;
  float temperature = 1;
  float one = 1;  // the weight of the largest
};

// Indexes of the arrays by rows start at 1 (entry 0 is null).
struct KernelTable {
  int tile_rows = 0;  // most rows of a register tile
  // Products with packed weights, by element type and rows, and the blocks that each keeps in flight.
  std::array<std::array<PackedKernel, kMaxTileRows + 1>, kNumWeightElements> packed{};
  std::array<int, kMaxTileRows + 1> blocks_in_flight{};
  // Panels times a tile whose a is [depth, rows], by rows.
  std::array<PanelKernel, kMaxTileRows + 1> panel{};
  // The same whose a is [rows, 64]; depth is at most 64.
  std::array<PanelKernel, kMaxTileRows + 1> panel_by_rows{};
  // Converts `count` consecutive elements to fp32; nothing behind them is read or written. By Element.
  std::array<void (*)(const std::byte* source, int64_t count, float* destination), 4> convert{};

  // y[r · y_stride + c] = silu(sums[r, c]) · sums[r, 16 + c], c < columns <= 16. sums [rows, 32].
  void (*gate)(const float* sums, int64_t rows, float* y, int64_t y_stride, int64_t columns) = nullptr;
  // destination[i] += source[i].
  void (*accumulate)(const float* source, int64_t count, float* destination) = nullptr;
  // destination[i] += factor · source[i], the product rounded.
  void (*accumulate_scaled)(const float* source, float factor, int64_t count, float* destination) = nullptr;
  // The same with the product rounded once more, to bf16.
  void (*accumulate_scaled_bf16)(const float* source, float factor, int64_t count, float* destination) = nullptr;
  // Rounds elements to bf16, to the nearest, ties to even: in place, or into memory of bf16.
  void (*round_bf16)(int64_t count, float* values) = nullptr;
  void (*narrow_bf16)(const float* source, int64_t count, std::byte* destination) = nullptr;
  // y = x · (1 / sqrt(mean(x²) + eps)) · weight.
  void (*rms_norm)(const float* x, const float* weight, float eps, int64_t count, float* y) = nullptr;
  // Rotates the pairs (i, i + half) of a head: cos at table[i], sin at table[half + i].
  void (*rotate)(const float* table, int64_t half, float* head) = nullptr;

  // One query's 64 scores become weights, in place, and its state moves on: the maximum rises, `total` and
  // values[0, num_values) are rescaled to it. Only keys [begin, end) count, begin < end <= 64; the weights of others
  // become 0. key_scales (64) multiply the scores, value_scales the weights (not the total); null: none.
  void (*softmax_block)(float* scores, int64_t begin, int64_t end, const float* key_scales, const float* value_scales,
                        SoftmaxState& state, float* values, int64_t num_values) = nullptr;
  // Adds a later split's state and values to the merged ones.
  void (*softmax_merge)(const SoftmaxState& split, const float* split_values, SoftmaxState& merged, float* values,
                        int64_t num_values) = nullptr;
  // out[i] = values[i] / divisor, zeros positive.
  void (*divide)(const float* values, float divisor, int64_t count, float* out) = nullptr;
  // exp of every element, in place.
  void (*exponential)(float* values, int64_t count) = nullptr;
  // The largest element, minus infinity of none; NaN where one is NaN or plus infinity.
  float (*largest)(const float* values, int64_t count) = nullptr;
  // weights[i] = one · exp((logits[i] - largest) / temperature); returns the sum of their integral parts. REQUIRES:
  // `one` is a power of two, the sum below 2^63.
  uint64_t (*weigh)(const float* logits, int64_t count, const SoftmaxScale& by, float* weights) = nullptr;

  // Ceilings: multiply-adds on registers alone, returning the operations done; reading `bytes` (a
  // multiple of 64) of memory, returning them.
  int64_t (*multiply_add_loop)(int64_t iterations) = nullptr;
  int64_t (*read_loop)(const std::byte* data, int64_t bytes) = nullptr;
};

const KernelTable& avx2_kernels();
const KernelTable& avx512_kernels();

// Independent sums of an int8 loop, one register each: they hide the latency of two dot products a cycle.
inline constexpr int kInt8Chains = 12;
// The ceiling of int8 dot products: on registers alone, `iterations` times, for every chain and 32-bit lane,
//   sums[chain · lanes + lane] += Σ over i < 4 of a[4 · lane + i] · b[4 · lane + i].
// a and b are one register of bytes each. Returns the operations done, two a product.
using Int8Loop = int64_t (*)(const uint8_t* a, const int8_t* b, int64_t iterations, int32_t* sums);
// Of AVX2 and AVX-512BW: the sums of two neighbouring products are cut off at 16 bits.
int64_t avx2_int8_loop(const uint8_t* a, const int8_t* b, int64_t iterations, int32_t* sums);
int64_t avx512bw_int8_loop(const uint8_t* a, const int8_t* b, int64_t iterations, int32_t* sums);
// Of AVX-VNNI (256 bits) and AVX-512 VNNI: exact.
int64_t avx_vnni_int8_loop(const uint8_t* a, const int8_t* b, int64_t iterations, int32_t* sums);
int64_t avx512_vnni_int8_loop(const uint8_t* a, const int8_t* b, int64_t iterations, int32_t* sums);

}  // namespace octet
