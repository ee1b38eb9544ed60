// Attention of single rows over long caches (flash decoding): bound by reading the pages, so a row's pages are spread
// over blocks (splits), and within a block over its four warps, a page at a time each; all query heads of a KV head
// share what a warp reads. Scores and sums are fp32 on the fp32 query. Partial results are merged in order, warps in
// shared memory, splits in a second kernel.
//
// A warp at a page: lane (d, chunk) multiplies eight keys (16 bytes of a row of the transposed key block) by elements
// d, d + 4, … of the queries; a reduce-scatter leaves each lane one head's (or two heads') scores of eight keys. Then
// lanes hold eight elements of the values each and walk over the keys. kHeads query heads at a time: 4 (122 registers,
// 22 KiB: four blocks on an SM) or 8 (206 registers, 44 KiB: two).
#include <cmath>

#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/cuda_check.h"
#include "kernels/cuda/device_math.cuh"

namespace octet::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kMaxSplitPages = 16;

// The pages that a block works on, and the keys that its row sees.
struct Span {
  int first_key, last_key;  // positions, both included
  int begin_page, end_page;
};

__device__ Span split_span(const DecodeArgs& a, int position, int split) {
  const int window = a.common.shape.window;
  Span span;
  span.last_key = position;
  span.first_key = window > 0 ? max(position - window + 1, 0) : 0;
  span.begin_page = max(split * a.split_pages, span.first_key / kTokensPerPage);
  span.end_page = min((split + 1) * a.split_pages, position / kTokensPerPage + 1);
  return span;
}

// Eight consecutive elements of a block at `at`; is_aligned: head_dim (and so every row) is a multiple of eight.
template <bool kInt8>
__device__ __forceinline__ void load_elements(const std::byte* block, int at, float* out) {
  if constexpr (kInt8) {
    const uint2 bits = *reinterpret_cast<const uint2*>(block + at);
    const uint32_t words[2] = {bits.x, bits.y};
#pragma unroll
    for (int i = 0; i < 8; ++i) out[i] = static_cast<float>(static_cast<int8_t>(words[i / 4] >> (i % 4 * 8)));
  } else {
    unpack8<__nv_bfloat16>(*reinterpret_cast<const uint4*>(block + 2 * at), out);
  }
}

template <bool kInt8>
__device__ float load_element(const std::byte* block, int at) {
  if constexpr (kInt8) return static_cast<float>(reinterpret_cast<const int8_t*>(block)[at]);
  return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(block)[at]);
}

template <int kHeads>
struct Shared {
  float query[kMaxHeadDim][kHeads];  // scaled
  float weights[kWarps][kTokensPerPage][kHeads];
  float rescale[kWarps][kHeads];
  float maximum[kWarps][kHeads];
  float total[kWarps][kHeads];
  float values[kWarps * kWarp * 8 * kHeads];  // [warp][key lane][head][element]
};

// One warp's share of a block: running maximum, total and weighted values of kHeads heads over its pages.
template <bool kInt8, int kHeads>
class WarpAttention {
 public:
  static constexpr int kHere = kHeads / 4;  // heads whose softmax this lane keeps: head_of(0), …

  __device__ WarpAttention(const DecodeArgs& a, Shared<kHeads>& shared)
      : a_(a.common), shared_(shared), warp_(threadIdx.x / kWarp), lane_(threadIdx.x % kWarp) {
    head_dim_ = a_.shape.head_dim;
    chunks_ = (head_dim_ + 7) / 8;
    key_lanes_ = kWarp / chunks_;
    key_lane_ = lane_ / chunks_;
    first_element_ = lane_ % chunks_ * 8;
#pragma unroll
    for (int i = 0; i < kHere; ++i) {
      maximum_[i] = -INFINITY;
      total_[i] = 0;
    }
  }

  __device__ void fold(const std::byte* keys, const std::byte* values, int begin, int end) {
    float scores[kHere][8];
    score(keys, scores);
    weigh(keys, values, begin, end, scores);
    __syncwarp();
    accumulate(values, begin, end);
    __syncwarp();
  }

  // Leaves the warp's results in shared memory.
  __device__ void publish() {
#pragma unroll
    for (int i = 0; i < kHere; ++i) {
      float total = total_[i];
#pragma unroll
      for (int distance = 1; distance < 8; distance *= 2) total += __shfl_xor_sync(~0U, total, distance);
      if (lane_ % 8 == 0) {
        shared_.maximum[warp_][head_of(i)] = maximum_[i];
        shared_.total[warp_][head_of(i)] = total;
      }
    }
    if (key_lane_ >= key_lanes_) return;
    float* out = shared_.values + (warp_ * key_lanes_ + key_lane_) * kHeads * chunks_ * 8 + first_element_;
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
#pragma unroll
      for (int e = 0; e < 8; ++e) out[h * chunks_ * 8 + e] = values_[h][e];
    }
  }

 private:
  __device__ int head_of(int i) const { return lane_ / 8 * kHere + i; }

  // Scores of keys chunk · 8 …, chunk = lane % 8, for the heads that this lane keeps.
  __device__ void score(const std::byte* keys, float (&scores)[kHere][8]) {
    float sums[kHeads][8] = {};
    const int chunk = lane_ % 8;
#pragma unroll 4
    for (int d = lane_ / 8; d < head_dim_; d += 4) {
      float elements[8];
      load_elements<kInt8>(keys, d * kTokensPerPage + chunk * 8, elements);
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
        const float q = shared_.query[d][h];
#pragma unroll
        for (int e = 0; e < 8; ++e) sums[h][e] += q * elements[e];
      }
    }
    // Lanes 16 apart, then 8 apart, hand each other one half of the heads.
    float halves[kHeads / 2][8];
    exchange<kHeads / 2>(sums, halves, 16);
    exchange<kHeads / 4>(halves, scores, 8);
  }

  template <int kKept>
  __device__ void exchange(const float (&from)[2 * kKept][8], float (&to)[kKept][8], int distance) {
    const bool upper = (lane_ & distance) != 0;
#pragma unroll
    for (int h = 0; h < kKept; ++h) {
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        const float given = upper ? from[h][e] : from[h + kKept][e];
        const float kept = upper ? from[h + kKept][e] : from[h][e];
        to[h][e] = kept + __shfl_xor_sync(~0U, given, distance);
      }
    }
  }

  // Softmax weights of the visible keys [begin, end) of the page, to shared memory.
  __device__ void weigh(const std::byte* keys, const std::byte* values, int begin, int end, float (&scores)[kHere][8]) {
    const int first = lane_ % 8 * 8;
    const auto* key_scales = reinterpret_cast<const float*>(keys + kTokensPerPage * head_dim_);
    const auto* value_scales = reinterpret_cast<const float*>(values + kTokensPerPage * head_dim_);
#pragma unroll
    for (int i = 0; i < kHere; ++i) {
      float largest = maximum_[i];
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        const bool visible = first + e >= begin && first + e < end;
        if constexpr (kInt8) {
          if (visible) scores[i][e] *= key_scales[first + e];
        }
        if (!visible) scores[i][e] = -INFINITY;
        largest = fmaxf(largest, scores[i][e]);
      }
#pragma unroll
      for (int distance = 1; distance < 8; distance *= 2)
        largest = fmaxf(largest, __shfl_xor_sync(~0U, largest, distance));
      const float factor = exp2f(maximum_[i] - largest);
      maximum_[i] = largest;
      total_[i] *= factor;
      if (lane_ % 8 == 0) shared_.rescale[warp_][head_of(i)] = factor;
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        float weight = exp2f(scores[i][e] - largest);
        total_[i] += weight;
        if constexpr (kInt8) {
          if (weight > 0) weight *= value_scales[first + e];
        }
        shared_.weights[warp_][first + e][head_of(i)] = weight;
      }
    }
  }

  __device__ void accumulate(const std::byte* values, int begin, int end) {
    if (key_lane_ >= key_lanes_) return;
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      const float factor = shared_.rescale[warp_][h];
#pragma unroll
      for (int e = 0; e < 8; ++e) values_[h][e] *= factor;
    }
    const bool is_aligned = head_dim_ % 8 == 0;
#pragma unroll 4
    for (int key = begin + key_lane_; key < end; key += key_lanes_) {
      float elements[8];
      const int at = key * head_dim_ + first_element_;
      if (is_aligned) {
        load_elements<kInt8>(values, at, elements);
      } else {
#pragma unroll
        for (int e = 0; e < 8; ++e)
          elements[e] = first_element_ + e < head_dim_ ? load_element<kInt8>(values, at + e) : 0.0F;
      }
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
        const float weight = shared_.weights[warp_][key][h];
#pragma unroll
        for (int e = 0; e < 8; ++e) values_[h][e] += weight * elements[e];
      }
    }
  }

  const AttentionArgs& a_;
  Shared<kHeads>& shared_;
  int warp_, lane_;
  int head_dim_;
  int chunks_;         // of eight elements of a value
  int key_lanes_;      // keys whose values a warp reads at once
  int key_lane_;       // this lane's among them; lanes from key_lanes_ on have none
  int first_element_;  // of the values in this lane
  float maximum_[kHere];
  float total_[kHere];  // over this lane's keys
  float values_[kHeads][8] = {};
};

// Where a split's part of one head is kept: its maximum, its total, then its head_dim weighted values.
__device__ float* partial_of(const DecodeArgs& a, int entry, int head, int split) {
  const int64_t index = (static_cast<int64_t>(entry) * a.common.shape.num_heads + head) * a.num_splits + split;
  return a.partials + index * (a.common.shape.head_dim + 2);
}

template <bool kInt8, int kHeads>
__global__ void __launch_bounds__(kThreads) decode_kernel(DecodeArgs a) {
  __shared__ Shared<kHeads> shared;
  const HeadShape& shape = a.common.shape;
  const int group = shape.num_heads / shape.num_kv_heads;
  const int parts = (group + kHeads - 1) / kHeads;  // of the heads of one KV head
  const int kv_head = blockIdx.y / parts;
  const int first_head = kv_head * group + blockIdx.y % parts * kHeads;
  const int num_heads = min(kHeads, (kv_head + 1) * group - first_head);
  const int entry = blockIdx.z;
  const DecodeRow place = a.rows == nullptr ? DecodeRow{entry, entry} : a.rows[entry];
  const Span span = split_span(a, a.common.positions[place.row], blockIdx.x);
  if (span.begin_page >= span.end_page) return;

  const int64_t row_floats = static_cast<int64_t>(shape.num_heads + 2 * shape.num_kv_heads) * shape.head_dim;
  const float* queries = a.common.qkv + place.row * row_floats + first_head * shape.head_dim;
  for (int i = threadIdx.x; i < kHeads * shape.head_dim; i += kThreads) {
    const int head = i / shape.head_dim;
    shared.query[i % shape.head_dim][head] = head < num_heads ? queries[i] * a.common.scale : 0.0F;
  }
  __syncthreads();

  WarpAttention<kInt8, kHeads> attention(a, shared);
  const int32_t* table = a.common.page_tables + static_cast<int64_t>(place.sequence) * a.common.max_pages;
  for (int page = span.begin_page + threadIdx.x / kWarp; page < span.end_page; page += kWarps) {
    const int64_t at = table[page] * a.common.pages.page_bytes + kv_head * a.common.pages.block_bytes;
    const int first_position = page * kTokensPerPage;
    attention.fold(a.common.pages.keys + at, a.common.pages.values + at, max(span.first_key - first_position, 0),
                   min(span.last_key - first_position + 1, kTokensPerPage));
  }
  attention.publish();
  __syncthreads();

  const int chunks = (shape.head_dim + 7) / 8;
  const int key_lanes = kWarp / chunks;
  for (int i = threadIdx.x; i < num_heads * shape.head_dim; i += kThreads) {
    const int head = i / shape.head_dim;
    const int element = i % shape.head_dim;
    float maximum = -INFINITY;
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) maximum = fmaxf(maximum, shared.maximum[warp][head]);
    float total = 0;
    float value = 0;
    for (int warp = 0; warp < kWarps; ++warp) {
      const float factor = exp2f(shared.maximum[warp][head] - maximum);
      total += factor * shared.total[warp][head];
      for (int lane = 0; lane < key_lanes; ++lane)
        value += factor * shared.values[((warp * key_lanes + lane) * kHeads + head) * chunks * 8 + element];
    }
    if (a.num_splits == 1) {
      a.common.out[(static_cast<int64_t>(place.row) * shape.num_heads + first_head) * shape.head_dim + i] =
          value / total;
      continue;
    }
    float* partial = partial_of(a, entry, first_head + head, blockIdx.x);
    if (element == 0) {
      partial[0] = maximum;
      partial[1] = total;
    }
    partial[2 + element] = value;
  }
}

// A block a head of a row.
__global__ void __launch_bounds__(kMaxHeadDim) merge_kernel(DecodeArgs a) {
  const HeadShape& shape = a.common.shape;
  const int head = blockIdx.x;
  const int entry = blockIdx.y;
  const int row = a.rows == nullptr ? entry : a.rows[entry].row;
  const int position = a.common.positions[row];
  float maximum = -INFINITY;
  float total = 0;
  float value = 0;
  for (int split = 0; split < a.num_splits; ++split) {
    const Span span = split_span(a, position, split);
    if (span.begin_page >= span.end_page) continue;
    const float* partial = partial_of(a, entry, head, split);
    const float largest = fmaxf(maximum, partial[0]);
    const float old_factor = exp2f(maximum - largest);
    const float factor = exp2f(partial[0] - largest);
    total = total * old_factor + partial[1] * factor;
    if (threadIdx.x < shape.head_dim) value = value * old_factor + partial[2 + threadIdx.x] * factor;
    maximum = largest;
  }
  if (threadIdx.x < shape.head_dim)
    a.common.out[(static_cast<int64_t>(row) * shape.num_heads + head) * shape.head_dim + threadIdx.x] = value / total;
}

int head_parts(const HeadShape& shape, int heads_at_once) {
  const int group = shape.num_heads / shape.num_kv_heads;
  return (group + heads_at_once - 1) / heads_at_once;
}

template <bool kInt8>
void launch(const DecodeArgs& args, cudaStream_t stream) {
  const HeadShape& shape = args.common.shape;
  const auto grid = [&](int heads_at_once) {
    return dim3(args.num_splits, shape.num_kv_heads * head_parts(shape, heads_at_once), args.num_rows);
  };
  if (shape.num_heads / shape.num_kv_heads <= 4) {
    decode_kernel<kInt8, 4><<<grid(4), kThreads, 0, stream>>>(args);
  } else {
    decode_kernel<kInt8, 8><<<grid(8), kThreads, 0, stream>>>(args);
  }
}

}  // namespace

void choose_splits(int num_multiprocessors, DecodeArgs& args) {
  constexpr int kBlocksPerMultiprocessor = 8;
  const int blocks = args.num_rows * args.common.shape.num_kv_heads;
  const int wanted = (kBlocksPerMultiprocessor * num_multiprocessors + blocks - 1) / blocks;
  const int pages = args.common.max_pages;
  args.split_pages = (pages + wanted - 1) / wanted;
  if (args.split_pages > kMaxSplitPages) args.split_pages = kMaxSplitPages;
  args.num_splits = (pages + args.split_pages - 1) / args.split_pages;
}

int64_t decode_partial_floats(const DecodeArgs& args) {
  if (args.num_splits == 1) return 0;
  return static_cast<int64_t>(args.num_rows) * args.common.shape.num_heads * args.num_splits *
         (args.common.shape.head_dim + 2);
}

void decode_attention(const DecodeArgs& args, cudaStream_t stream) {
  if (args.num_rows == 0) return;
  if (args.common.pages.is_int8) {
    launch<true>(args, stream);
  } else {
    launch<false>(args, stream);
  }
  OCTET_CUDA_CHECK_LAUNCH();
  if (args.num_splits == 1) return;
  const int threads = (args.common.shape.head_dim + kWarp - 1) / kWarp * kWarp;
  merge_kernel<<<dim3(args.common.shape.num_heads, args.num_rows), threads, 0, stream>>>(args);
  OCTET_CUDA_CHECK_LAUNCH();
}

}  // namespace octet::cuda
