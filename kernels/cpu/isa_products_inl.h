// Register tiles of the matrix products, on the vectors (Vec) of the translation unit that includes this.
#pragma once

namespace octet {
namespace {

using Float = Vec::Float;
constexpr int kLanes = Vec::kLanes;
// A block's 32 columns as pairs of vectors: pair j is the columns from j · kLanes and those from 16 + j · kLanes on,
// which is what one load of packed bf16 holds.
constexpr int kBlockPairs = static_cast<int>(kBlockColumns) / 2 / kLanes;
constexpr int64_t kHalfBlock = kBlockColumns / 2;

// Bytes of one k of a packed block.
constexpr int64_t packed_step(Element element) { return kBlockColumns * (element == Element::kF32 ? 4 : 2); }

// The two vectors of pair j of one k.
template <Element E>
[[gnu::always_inline]] inline void load_pair(const std::byte* packed, int j, Float& low, Float& high) {
  if constexpr (E == Element::kBF16) {
    const Vec::Int pairs = Vec::load_u32(packed + j * kLanes * 4);
    low = Vec::low_bf16(pairs);
    high = Vec::high_bf16(pairs);
  } else if constexpr (E == Element::kF16) {
    low = Vec::load_f16(packed + j * kLanes * 2);
    high = Vec::load_f16(packed + (kHalfBlock + j * kLanes) * 2);
  } else {
    low = Vec::load(reinterpret_cast<const float*>(packed) + j * kLanes);
    high = Vec::load(reinterpret_cast<const float*>(packed) + kHalfBlock + j * kLanes);
  }
}

// Pairs [first_pair, first_pair + kPairs) of kBlocks neighbouring blocks times a tile of kRows rows.
template <Element E, int kRows, int kBlocks, int kPairs>
[[gnu::always_inline]] inline void packed_tile(const PackedProduct& product, int64_t first_block, int first_pair) {
  // Few rows wait for memory: into the second-level cache (2) more fetches can be under way than into the first (3).
  constexpr int kPrefetchLevel = kRows < 8 ? 2 : 3;
  Float sums[kBlocks][kRows][kPairs][2];
  float* out = product.sums + first_block * kRows * kBlockColumns + first_pair * kLanes;
  const auto for_each_sum = [&](const auto& function) {
#pragma GCC unroll 4
    for (int b = 0; b < kBlocks; ++b) {
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int j = 0; j < kPairs; ++j) {
          float* at = out + (b * kRows + r) * kBlockColumns + j * kLanes;
          function(sums[b][r][j][0], at);
          function(sums[b][r][j][1], at + kHalfBlock);
        }
      }
    }
  };
  for_each_sum([&](Float& sum, const float* at) { sum = product.start ? Vec::set1(0) : Vec::load(at); });
  const float* a = product.a;
  const std::byte* weights = product.weights + first_block * product.block_bytes;
  const std::byte* prefetch = product.prefetch + first_block * product.block_bytes;
  for (int64_t k = 0; k < product.depth; ++k, a += kRows, weights += packed_step(E)) {
#pragma GCC unroll 4
    for (int b = 0; b < kBlocks; ++b) {
      __builtin_prefetch(prefetch + b * product.block_bytes, 0, kPrefetchLevel);
      if constexpr (E == Element::kF32) {
        __builtin_prefetch(prefetch + b * product.block_bytes + 64, 0, kPrefetchLevel);
      }
#pragma GCC unroll 4
      for (int j = 0; j < kPairs; ++j) {
        Float low;
        Float high;
        load_pair<E>(weights + b * product.block_bytes, first_pair + j, low, high);
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
          const Float x = Vec::set1(a[r]);
          sums[b][r][j][0] = Vec::fma(x, low, sums[b][r][j][0]);
          sums[b][r][j][1] = Vec::fma(x, high, sums[b][r][j][1]);
        }
      }
    }
    prefetch += product.prefetch_step;
  }
  for_each_sum([](Float sum, float* at) { Vec::store(at, sum); });
}

template <Element E, int kRows>
void packed_product(const PackedProduct& product) {
  constexpr int kBlocks = blocks_in_flight(kRows);
  constexpr int kPairs = pairs_in_flight(kRows);
  int64_t block = 0;
  for (; block + kBlocks <= product.num_blocks; block += kBlocks) {
    for (int j = 0; j < kBlockPairs; j += kPairs) packed_tile<E, kRows, kBlocks, kPairs>(product, block, j);
  }
  if constexpr (kBlocks == 1) return;
  for (; block < product.num_blocks; ++block) {
    for (int j = 0; j < kBlockPairs; j += kPairs) packed_tile<E, kRows, 1, kPairs>(product, block, j);
  }
}

// kPanelVectors vectors of a panel's columns, from `column` on, times a tile of kRows rows. Element (r, k) of the tile
// is a[r · kRowStride + k · kStepStride].
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
  const auto step = [&] {
    if (product.prefetch != nullptr) {
      // Into the second-level cache: more of such fetches can be under way than of those into the first.
      __builtin_prefetch(prefetch, 0, 2);
      __builtin_prefetch(prefetch + 64, 0, 2);
      prefetch += 2 * 64;
    }
    Float columns[kPanelVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) columns[v] = Vec::load(b + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Float x = Vec::set1(a[r * kRowStride]);
#pragma GCC unroll 4
      for (int v = 0; v < kPanelVectors; ++v) sums[r][v] = Vec::fma(x, columns[v], sums[r][v]);
    }
    a += kStepStride;
    b += product.b_stride;
  };
  int64_t k = 0;
  for (; k + 2 <= product.depth; k += 2) {
    step();
    step();
  }
  if (k < product.depth) step();
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

}  // namespace
}  // namespace octet
