// Register tiles of the matrix products, on the vectors (Vec) of the translation unit that includes this.
#pragma once

namespace octet {
namespace {

using Float = Vec::Float;
constexpr int kLanes = Vec::kLanes;
constexpr int kBlockVectors = static_cast<int>(kBlockColumns) / kLanes;

// Bytes of one k of a packed block.
constexpr int64_t packed_step(Element element) { return kBlockColumns * (element == Element::kF32 ? 4 : 2); }

// How far ahead packed weights are fetched: past what the hardware's own prefetcher, which stops at every 4 KiB, covers.
constexpr int64_t kPrefetchBytes = 4096;

// The 32 weights of one k.
template <Element E>
[[gnu::always_inline]] inline void load_block(const std::byte* packed, Float (&columns)[kBlockVectors]) {
  if constexpr (E == Element::kBF16) {
#pragma GCC unroll 4
    for (int v = 0; v < kBlockVectors / 2; ++v) {
      const Vec::Int pairs = Vec::load_u32(packed + v * kLanes * 4);
      columns[v] = Vec::low_bf16(pairs);
      columns[v + kBlockVectors / 2] = Vec::high_bf16(pairs);
    }
  } else {
#pragma GCC unroll 4
    for (int v = 0; v < kBlockVectors; ++v) {
      if constexpr (E == Element::kF16) columns[v] = Vec::load_f16(packed + v * kLanes * 2);
      if constexpr (E == Element::kF32) columns[v] = Vec::load(reinterpret_cast<const float*>(packed) + v * kLanes);
    }
  }
}

// kBlocks neighbouring packed blocks times a tile of kRows rows.
template <Element E, int kRows, int kBlocks>
void packed_tile(const PackedProduct& product, int64_t first_block) {
  Float sums[kBlocks][kRows][kBlockVectors];
#pragma GCC unroll 64
  for (Float& sum : reinterpret_cast<Float(&)[kBlocks * kRows * kBlockVectors]>(sums)) sum = Vec::set1(0);
  const float* a = product.a;
  const std::byte* weights = product.weights + first_block * product.block_bytes;
  for (int64_t k = 0; k < product.depth; ++k, a += kRows, weights += packed_step(E)) {
#pragma GCC unroll 4
    for (int b = 0; b < kBlocks; ++b) {
      const std::byte* block = weights + b * product.block_bytes;
      for (int64_t line = 0; line < packed_step(E); line += 64) __builtin_prefetch(block + kPrefetchBytes + line);
      Float columns[kBlockVectors];
      load_block<E>(block, columns);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const Float x = Vec::set1(a[r]);
#pragma GCC unroll 4
        for (int v = 0; v < kBlockVectors; ++v) sums[b][r][v] = Vec::fma(x, columns[v], sums[b][r][v]);
      }
    }
  }
  float* out = product.sums + first_block * kRows * kBlockColumns;
#pragma GCC unroll 4
  for (int b = 0; b < kBlocks; ++b) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kBlockVectors; ++v) {
        Vec::store(out + (b * kRows + r) * kBlockColumns + v * kLanes, sums[b][r][v]);
      }
    }
  }
}

template <Element E, int kRows>
void packed_product(const PackedProduct& product) {
  constexpr int kBlocks = packed_blocks(kRows);
  int64_t block = 0;
  for (; block + kBlocks <= product.num_blocks; block += kBlocks) packed_tile<E, kRows, kBlocks>(product, block);
  for (; block < product.num_blocks; ++block) packed_tile<E, kRows, 1>(product, block);
}

// kPanelVectors vectors of a panel's columns, from `column` on, times a tile of kRows rows. Element (r, k) of the tile is
// a[r · kRowStride + k · kStepStride].
template <int kRows, int kRowStride, int kStepStride>
[[gnu::always_inline]] inline void panel_tile(const PanelProduct& product, int64_t column) {
  Float sums[kRows][kPanelVectors];
  float* out = product.sums + column;
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) {
      sums[r][v] = product.start ? Vec::set1(0) : Vec::load(out + r * product.sums_stride + v * kLanes);
    }
  }
  const float* a = product.a;
  const float* b = product.b + column;
  const std::byte* prefetch = product.prefetch;
  for (int64_t k = 0; k < product.depth; ++k, a += kStepStride, b += product.b_stride) {
    __builtin_prefetch(prefetch, 0, 2);
    prefetch += product.prefetch_step;
    Float columns[kPanelVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) columns[v] = Vec::load(b + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Float x = Vec::set1(a[r * kRowStride]);
#pragma GCC unroll 4
      for (int v = 0; v < kPanelVectors; ++v) sums[r][v] = Vec::fma(x, columns[v], sums[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) Vec::store(out + r * product.sums_stride + v * kLanes, sums[r][v]);
  }
}

template <int kRows, int kRowStride, int kStepStride>
void panel_product(const PanelProduct& product) {
  for (int64_t column = 0; column < kBlockColumns; column += kPanelVectors * kLanes) {
    panel_tile<kRows, kRowStride, kStepStride>(product, column);
  }
}

template <Element E>
void widen_block(const std::byte* packed, int64_t depth, float* panel) {
  for (int64_t k = 0; k < depth; ++k, packed += packed_step(E), panel += kBlockColumns) {
    Float columns[kBlockVectors];
    load_block<E>(packed, columns);
    for (int v = 0; v < kBlockVectors; ++v) Vec::store(panel + v * kLanes, columns[v]);
  }
}

}  // namespace
}  // namespace octet
