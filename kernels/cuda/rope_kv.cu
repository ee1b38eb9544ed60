// RoPE and the store of keys and values into pages. A warp a head of a row. Bound by memory: a key is a column of its
// page, so neighbouring rows of a prompt meet in the L2 cache before they reach memory.
#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/cuda_check.h"
#include "kernels/cuda/device_math.cuh"

namespace octet::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPerLane = kMaxHeadDim / kWarp;  // elements of a head in one lane

// cos and sin of fp32 angles up to a million: whole turns are taken off in double precision, as exact as the angle.
__global__ void __launch_bounds__(kThreads) rope_table_kernel(RopeTableArgs a) {
  const int index = blockIdx.x * kThreads + threadIdx.x;
  if (index >= a.num_rows * a.half) return;
  const int row = index / a.half;
  const int i = index % a.half;
  const float* frequency = a.inverse_frequency + static_cast<int64_t>(row) * a.stride;
  const float angle = __fmul_rn(static_cast<float>(a.positions[row]), frequency[i]);
  const float factor = a.has_factor ? frequency[a.half] : 1.0F;
  constexpr double kHalfTurns = 0.31830988618379067154;  // 1 / π
  double sine;
  double cosine;
  sincospi(angle * kHalfTurns, &sine, &cosine);
  float* out = a.table + static_cast<int64_t>(row) * 2 * a.half;
  out[i] = __fmul_rn(static_cast<float>(cosine), factor);
  out[a.half + i] = __fmul_rn(static_cast<float>(sine), factor);
}

// One head's vector, spread over a warp: lane l has pairs (i, i + half) for i = l, l + 32, … as low and high.
struct Head {
  float low[kPerLane / 2];
  float high[kPerLane / 2];
};

__device__ void store_element(const KvPages& pages, std::byte* block, int at, float value, float scale) {
  if (pages.is_int8) {
    reinterpret_cast<int8_t*>(block)[at] =
        static_cast<int8_t>(scale == 0 ? 0 : __float2int_rn(__fdiv_rn(value, scale)));
  } else {
    reinterpret_cast<__nv_bfloat16*>(block)[at] = __float2bfloat16_rn(value);
  }
}

// Stores a head into slot `slot` of a block: element i at first + i · stride.
__device__ void store_head(const KvPages& pages, std::byte* block, int slot, int first, int stride, int half,
                           const Head& head) {
  const int lane = threadIdx.x % kWarp;
  float scale = 1;
  if (pages.is_int8) {
    float largest = 0;
#pragma unroll
    for (int n = 0; n < kPerLane / 2; ++n) largest = fmaxf(largest, fmaxf(fabsf(head.low[n]), fabsf(head.high[n])));
    scale = __fdiv_rn(warp_max(largest), 127.0F);
    if (lane == 0) reinterpret_cast<float*>(block + kTokensPerPage * 2 * half)[slot] = scale;
  }
#pragma unroll
  for (int n = 0; n < kPerLane / 2; ++n) {
    const int i = lane + n * kWarp;
    if (i >= half) break;
    store_element(pages, block, first + i * stride, head.low[n], scale);
    store_element(pages, block, first + (half + i) * stride, head.high[n], scale);
  }
}

__global__ void __launch_bounds__(kThreads) store_kv_kernel(StoreKvArgs a) {
  const HeadShape& s = a.shape;
  const int heads = s.num_heads + 2 * s.num_kv_heads;
  const int64_t index = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / kWarp;
  if (index >= static_cast<int64_t>(a.num_rows) * heads) return;
  const int row = static_cast<int>(index / heads);
  const int head_index = static_cast<int>(index % heads);
  const int lane = threadIdx.x % kWarp;
  const int half = s.head_dim / 2;
  const bool is_value = head_index >= s.num_heads + s.num_kv_heads;
  float* values = a.qkv + index * s.head_dim;
  const float* table = a.rope_table + static_cast<int64_t>(row) * s.head_dim;
  Head head = {};
#pragma unroll
  for (int n = 0; n < kPerLane / 2; ++n) {
    const int i = lane + n * kWarp;
    if (i >= half) break;
    const float low = values[i];
    const float high = values[half + i];
    const float cosine = is_value ? 1.0F : table[i];
    const float sine = is_value ? 0.0F : table[half + i];
    head.low[n] = __fsub_rn(__fmul_rn(low, cosine), __fmul_rn(high, sine));
    head.high[n] = __fadd_rn(__fmul_rn(high, cosine), __fmul_rn(low, sine));
    if (head_index < s.num_heads) {
      values[i] = head.low[n];
      values[half + i] = head.high[n];
    }
  }
  if (head_index < s.num_heads) return;
  const int position = a.positions[row];
  const int sequence = a.sequence_of_row == nullptr ? row : a.sequence_of_row[row];
  const int64_t page = a.page_tables[static_cast<int64_t>(sequence) * a.max_pages + position / kTokensPerPage];
  const int slot = position % kTokensPerPage;
  const int kv_head = (head_index - s.num_heads) % s.num_kv_heads;
  const int64_t at = page * a.pages.page_bytes + kv_head * a.pages.block_bytes;
  if (is_value) {
    store_head(a.pages, a.pages.values + at, slot, slot * s.head_dim, 1, half, head);
  } else {
    store_head(a.pages, a.pages.keys + at, slot, slot, kTokensPerPage, half, head);
  }
}

}  // namespace

void rope_table(const RopeTableArgs& args, cudaStream_t stream) {
  if (args.num_rows == 0) return;
  rope_table_kernel<<<(args.num_rows * args.half + kThreads - 1) / kThreads, kThreads, 0, stream>>>(args);
  OCTET_CUDA_CHECK_LAUNCH();
}

void rope_and_store_kv(const StoreKvArgs& args, cudaStream_t stream) {
  if (args.num_rows == 0) return;
  const int64_t heads = static_cast<int64_t>(args.num_rows) * (args.shape.num_heads + 2 * args.shape.num_kv_heads);
  const int64_t blocks = (heads * kWarp + kThreads - 1) / kThreads;
  store_kv_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(args);
  OCTET_CUDA_CHECK_LAUNCH();
}

}  // namespace octet::cuda
