// Attention of prompts (FlashAttention-2, Dao 2023) over pages: a block computes 64 rows of scores, which are the query
// heads of one KV head times consecutive rows of a sequence, so keys and values are read once for all of them. Four
// warps of 16 rows; a page of 64 keys at a time, the next one copied in the background. Tensor cores multiply in bf16
// and sum in fp32; weights are rounded to bf16 before they meet the values; the softmax is fp32.
//
// kDim: head_dim padded to what the accumulators are dimensioned for; columns behind head_dim are zeros in shared
// memory only. kDim = 128: 189 registers and 65 KiB, two blocks on an SM.
#include <cmath>

#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/cuda_check.h"
#include "kernels/cuda/device_math.cuh"

namespace octet::cuda {
namespace {

using BF16 = __nv_bfloat16;

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kKeys = kTokensPerPage;
constexpr int kKeyChunks = kKeys / 8;  // 16-byte pieces of one row of the transposed key block
constexpr int kKeyTiles = kKeys / 8;   // of eight keys, an instruction's columns
static_assert(kWarps * 16 == kPrefillTileHeads);

template <int kDim>
struct Stage {
  BF16 keys[kDim * kKeys];    // [kDim][kKeys], swizzled
  BF16 values[kKeys * kDim];  // [kKeys][kDim], swizzled
  float key_scales[kKeys];    // int8 only
  float value_scales[kKeys];
};

// The keys that some row of the block sees.
struct KeyRange {
  int first, last;  // positions, both included
};

// Brings pages to shared memory; values that no row sees become zeros, whatever the page holds there.
template <bool kInt8, int kDim>
class PageLoader {
 public:
  __device__ PageLoader(const AttentionArgs& a, const KeyRange& range) : a_(a), range_(range) {}

  __device__ void load(int64_t page_offset, int first_position, Stage<kDim>& stage) const {
    const std::byte* keys = a_.pages.keys + page_offset;
    const std::byte* values = a_.pages.values + page_offset;
    const int begin = max(range_.first - first_position, 0);
    const int end = min(range_.last - first_position + 1, kKeys);
    if constexpr (kInt8) {
      widen(keys, values, begin, end, stage);
    } else {
      copy(keys, values, begin, end, stage);
    }
  }

 private:
  __device__ void copy(const std::byte* keys, const std::byte* values, int begin, int end, Stage<kDim>& stage) const {
    const int dim = a_.shape.head_dim;
    const uint32_t key_base = shared_address(stage.keys);
    for (int i = threadIdx.x; i < kDim * kKeyChunks; i += kThreads) {
      const int d = i / kKeyChunks;
      const int chunk = i % kKeyChunks;
      const bool wanted = d < dim;
      copy_async_16(key_base + swizzled<kKeyChunks>(d, chunk), keys + (wanted ? (d * kKeys + chunk * 8) * 2 : 0),
                    wanted);
    }
    constexpr int kChunks = kDim / 8;
    const uint32_t value_base = shared_address(stage.values);
    for (int i = threadIdx.x; i < kKeys * kChunks; i += kThreads) {
      const int key = i / kChunks;
      const int chunk = i % kChunks;
      const bool visible = key >= begin && key < end;
      const uint32_t to = value_base + swizzled<kChunks>(key, chunk);
      if (dim % 8 == 0) {
        const bool wanted = visible && chunk * 8 < dim;
        copy_async_16(to, values + (wanted ? (key * dim + chunk * 8) * 2 : 0), wanted);
        continue;
      }
#pragma unroll
      for (int pair = 0; pair < 4; ++pair) {
        const int d = chunk * 8 + pair * 2;
        const bool wanted = visible && d < dim;
        copy_async_4(to + pair * 4, values + (wanted ? (key * dim + d) * 2 : 0), wanted);
      }
    }
  }

  // int8 is exact in bf16; scales meet scores and weights.
  __device__ void widen(const std::byte* keys, const std::byte* values, int begin, int end, Stage<kDim>& stage) const {
    const int dim = a_.shape.head_dim;
    widen_rows<kDim, kKeys>(reinterpret_cast<const int8_t*>(keys), stage.keys, 0, dim, kKeys);
    widen_rows<kKeys, kDim>(reinterpret_cast<const int8_t*>(values), stage.values, begin, end, dim);
    if (threadIdx.x >= kKeys) return;
    const bool visible = static_cast<int>(threadIdx.x) >= begin && static_cast<int>(threadIdx.x) < end;
    const auto scale = [&](const std::byte* block) {
      return visible ? reinterpret_cast<const float*>(block + kKeys * dim)[threadIdx.x] : 0.0F;
    };
    stage.key_scales[threadIdx.x] = scale(keys);
    stage.value_scales[threadIdx.x] = scale(values);
  }

  // Rows [begin, end) of [kRows, width] to [kRows, kColumns]; zeros elsewhere.
  template <int kRows, int kColumns>
  __device__ void widen_rows(const int8_t* from, BF16* to, int begin, int end, int width) const {
    constexpr int kChunks = kColumns / 8;
    for (int i = threadIdx.x; i < kRows * kChunks; i += kThreads) {
      const int row = i / kChunks;
      const int column = i % kChunks * 8;
      float elements[8];
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        const bool wanted = row >= begin && row < end && column + e < width;
        elements[e] = wanted ? static_cast<float>(from[row * width + column + e]) : 0.0F;
      }
      auto* place = reinterpret_cast<unsigned char*>(to) + swizzled<kChunks>(row, i % kChunks);
      *reinterpret_cast<uint4*>(place) = pack8<BF16>(elements);
    }
  }

  const AttentionArgs& a_;
  KeyRange range_;
};

// The 16 rows of one warp; this lane has columns of rows lane / 4 and lane / 4 + 8 ("half" 0 and 1).
template <bool kInt8, int kDim>
class WarpRows {
 public:
  __device__ WarpRows(const AttentionArgs& a, const PrefillTile& tile, int kv_head)
      : a_(a), lane_(threadIdx.x % kWarp) {
    const int group = a.shape.num_heads / a.shape.num_kv_heads;
    const int64_t row_floats = static_cast<int64_t>(a.shape.num_heads + 2 * a.shape.num_kv_heads) * a.shape.head_dim;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int index = threadIdx.x / kWarp * 16 + half * 8 + lane_ / 4;
      const int token = index / group;
      const int head = kv_head * group + index % group;
      is_row_[half] = token < tile.num_rows;
      position_[half] = is_row_[half] ? tile.first_position + token : -1;
      const int64_t row = tile.first_row + token;
      load_queries(is_row_[half] ? a.qkv + row * row_floats + head * a.shape.head_dim : nullptr, half);
      out_[half] = a.out + (row * a.shape.num_heads + head) * a.shape.head_dim;
      maximum_[half] = -INFINITY;
      total_[half] = 0;
    }
  }

  __device__ void fold(const Stage<kDim>& stage, int first_position) {
    float scores[kKeyTiles][4] = {};
    score(stage, scores);
    weigh(stage, first_position, scores);
    accumulate(stage, scores);
  }

  __device__ void store() {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float total = total_[half];
      total += __shfl_xor_sync(~0U, total, 1);
      total += __shfl_xor_sync(~0U, total, 2);
      if (!is_row_[half]) continue;
#pragma unroll
      for (int tile = 0; tile < kDim / 8; ++tile) {
        const int d = tile * 8 + lane_ % 4 * 2;
        if (d >= a_.shape.head_dim) break;
        *reinterpret_cast<float2*>(out_[half] + d) = {values_[tile][half * 2] / total,
                                                      values_[tile][half * 2 + 1] / total};
      }
    }
  }

 private:
  __device__ void load_queries(const float* query, int half) {
#pragma unroll
    for (int i = 0; i < kDim / 8; ++i) {
      const int d = i * 8 + lane_ % 4 * 2;
      float2 pair{0, 0};
      if (query != nullptr && d < a_.shape.head_dim) pair = *reinterpret_cast<const float2*>(query + d);
      query_[i / 2][i % 2 * 2 + half] = pack2<BF16>(pair.x * a_.scale, pair.y * a_.scale);
    }
  }

  __device__ void score(const Stage<kDim>& stage, float (&scores)[kKeyTiles][4]) {
    const uint32_t base = shared_address(stage.keys);
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      if (k * 16 >= a_.shape.head_dim) break;
#pragma unroll
      for (int pair = 0; pair < kKeyTiles / 2; ++pair) {
        uint32_t b[4];
        load_matrices_transposed(b, base + swizzled<kKeyChunks>(k * 16 + lane_ % 16, pair * 2 + lane_ / 16));
        mma_16x8x16<BF16>(scores[pair * 2], query_[k], b[0], b[1]);
        mma_16x8x16<BF16>(scores[pair * 2 + 1], query_[k], b[2], b[3]);
      }
    }
  }

  // Scores become softmax weights relative to the running maximum.
  __device__ void weigh(const Stage<kDim>& stage, int first_position, float (&scores)[kKeyTiles][4]) {
    float largest[2] = {maximum_[0], maximum_[1]};
#pragma unroll
    for (int tile = 0; tile < kKeyTiles; ++tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int key = tile * 8 + lane_ % 4 * 2 + i % 2;
        const int distance = position_[i / 2] - (first_position + key);
        const bool visible = distance >= 0 && (a_.shape.window == 0 || distance < a_.shape.window);
        if constexpr (kInt8) scores[tile][i] *= stage.key_scales[key];
        if (!visible) scores[tile][i] = -INFINITY;
        largest[i / 2] = fmaxf(largest[i / 2], scores[tile][i]);
      }
    }
    float base[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      largest[half] = fmaxf(largest[half], __shfl_xor_sync(~0U, largest[half], 1));
      largest[half] = fmaxf(largest[half], __shfl_xor_sync(~0U, largest[half], 2));
      base[half] = largest[half] == -INFINITY ? 0.0F : largest[half];  // a row that sees no key of this page yet
      rescale_[half] = exp2f(maximum_[half] - base[half]);
      maximum_[half] = largest[half];
      total_[half] *= rescale_[half];
    }
#pragma unroll
    for (int tile = 0; tile < kKeyTiles; ++tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        scores[tile][i] = exp2f(scores[tile][i] - base[i / 2]);
        total_[i / 2] += scores[tile][i];
        if constexpr (kInt8) scores[tile][i] *= stage.value_scales[tile * 8 + lane_ % 4 * 2 + i % 2];
      }
    }
  }

  __device__ void accumulate(const Stage<kDim>& stage, const float (&weights)[kKeyTiles][4]) {
    constexpr int kChunks = kDim / 8;
    const uint32_t base = shared_address(stage.values);
#pragma unroll
    for (int tile = 0; tile < kDim / 8; ++tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) values_[tile][i] *= rescale_[i / 2];
    }
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      const uint32_t a[4] = {pack2<BF16>(weights[2 * k][0], weights[2 * k][1]),
                             pack2<BF16>(weights[2 * k][2], weights[2 * k][3]),
                             pack2<BF16>(weights[2 * k + 1][0], weights[2 * k + 1][1]),
                             pack2<BF16>(weights[2 * k + 1][2], weights[2 * k + 1][3])};
#pragma unroll
      for (int pair = 0; pair < kDim / 16; ++pair) {
        if (pair * 16 >= a_.shape.head_dim) break;
        uint32_t b[4];
        load_matrices_transposed(b, base + swizzled<kChunks>(k * 16 + lane_ % 16, pair * 2 + lane_ / 16));
        mma_16x8x16<BF16>(values_[pair * 2], a, b[0], b[1]);
        mma_16x8x16<BF16>(values_[pair * 2 + 1], a, b[2], b[3]);
      }
    }
  }

  const AttentionArgs& a_;
  int lane_;
  bool is_row_[2];
  int position_[2];
  float* out_[2];
  uint32_t query_[kDim / 16][4];  // A operands
  float values_[kDim / 8][4] = {};
  float maximum_[2];
  float total_[2];  // over this lane's keys
  float rescale_[2];
};

template <bool kInt8, int kDim>
__global__ void __launch_bounds__(kThreads, 2) prefill_kernel(const __grid_constant__ PrefillArgs a) {
  extern __shared__ __align__(128) unsigned char shared[];
  auto* stages = reinterpret_cast<Stage<kDim>*>(shared);
  const PrefillTile tile = a.tiles[blockIdx.x];
  const int kv_head = blockIdx.y;
  const int window = a.common.shape.window;
  const KeyRange range{window > 0 ? max(tile.first_position - window + 1, 0) : 0,
                       tile.first_position + tile.num_rows - 1};
  const int32_t* table = a.common.page_tables + static_cast<int64_t>(tile.sequence) * a.common.max_pages;
  const PageLoader<kInt8, kDim> loader(a.common, range);
  const auto load = [&](int page) {
    const int64_t offset = table[page] * a.common.pages.page_bytes + kv_head * a.common.pages.block_bytes;
    loader.load(offset, page * kKeys, stages[page % 2]);
  };
  WarpRows<kInt8, kDim> rows(a.common, tile, kv_head);
  const int last_page = range.last / kKeys;
  int page = range.first / kKeys;
  load(page);
  commit_copies();
  for (; page <= last_page; ++page) {
    if (page < last_page) load(page + 1);
    commit_copies();
    wait_for_copies<1>();
    __syncthreads();
    rows.fold(stages[page % 2], page * kKeys);
    __syncthreads();
  }
  rows.store();
}

template <bool kInt8, int kDim>
void launch(const PrefillArgs& args, cudaStream_t stream) {
  constexpr int kSharedBytes = 2 * sizeof(Stage<kDim>);
  OCTET_CUDA_CHECK(
      cudaFuncSetAttribute(prefill_kernel<kInt8, kDim>, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes));
  const dim3 grid(args.num_tiles, args.common.shape.num_kv_heads);
  prefill_kernel<kInt8, kDim><<<grid, kThreads, kSharedBytes, stream>>>(args);
  OCTET_CUDA_CHECK_LAUNCH();
}

template <bool kInt8>
void launch_padded(const PrefillArgs& args, cudaStream_t stream) {
  const int dim = args.common.shape.head_dim;
  if (dim <= 32) {
    launch<kInt8, 32>(args, stream);
  } else if (dim <= 64) {
    launch<kInt8, 64>(args, stream);
  } else {
    launch<kInt8, kMaxHeadDim>(args, stream);
  }
}

}  // namespace

void prefill_attention(const PrefillArgs& args, cudaStream_t stream) {
  if (args.num_tiles == 0) return;
  if (args.common.pages.is_int8) {
    launch_padded<true>(args, stream);
  } else {
    launch_padded<false>(args, stream);
  }
}

}  // namespace octet::cuda
