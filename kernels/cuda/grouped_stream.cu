// Products with few rows: bound by reading the weights.
//
// grouped_stream: a block of eight warps computes 16 weight rows for all rows of one expert, 16 at a time, on tensor
// cores with the weights as the 16-row operand, so that up to eight rows fill an instruction. Warps take turns along K
// and are added up in order of their index. An mma sums over 16 values of k in any order, so each lane loads eight
// consecutive elements (16 bytes) of its row and both operands use the same permutation of k: no shared memory, no
// shuffles. Weights are read once and marked as such. 70 registers, 8 KiB: three blocks on an SM, which at eight loads
// in flight a thread are 96 KiB, more than bandwidth times latency.
#include "kernels/cuda/cuda_check.h"
#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/products.h"

namespace octet::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarp;
constexpr int kWeightRows = 16;  // of a block
constexpr int kTokenTiles = 2;   // of eight rows of x
constexpr int kTokens = kTokenTiles * 8;
constexpr int kStep = 32;  // values of k of two instructions

struct Expert {
  const void* weight;
  int begin, end;  // its assignments
};

__device__ Expert expert_of(const GroupedArgs& a, int index) {
  if (a.weights == nullptr) return {a.weight, 0, a.num_rows};
  return {a.weights[index], a.offsets[index], a.offsets[index + 1]};
}

// The row of x of an assignment, null behind the last.
__device__ const float* x_row(const GroupedArgs& a, int assignment, int end) {
  if (assignment >= end) return nullptr;
  const int64_t row = a.assignment_row == nullptr ? assignment : a.assignment_row[assignment];
  return static_cast<const float*>(a.x) + row * a.num_inputs;
}

// This warp's part of 16 weight rows times kTokens rows of x.
template <typename T>
__device__ void multiply(const GroupedArgs& a, const T* const (&weight_row)[2], const float* const (&x)[kTokenTiles],
                         float (&sum)[kTokenTiles][4]) {
  const bool is_aligned = a.num_inputs % 4 == 0;
  const int first = (threadIdx.x / kWarp) * kStep + threadIdx.x % 4 * 8;
#pragma unroll 4
  for (int k = first; k < a.stride; k += kWarps * kStep) {
    const uint4 low = __ldcs(reinterpret_cast<const uint4*>(weight_row[0] + k));
    const uint4 high = __ldcs(reinterpret_cast<const uint4*>(weight_row[1] + k));
#pragma unroll
    for (int tile = 0; tile < kTokenTiles; ++tile) {
      uint4 b{0, 0, 0, 0};
      if (x[tile] != nullptr) {
        float values[8];
        load8(x[tile], k, a.num_inputs, is_aligned, values);
        b = pack8<T>(values);
      }
      mma_16x8x16<T>(sum[tile], {low.x, high.x, low.y, high.y}, b.x, b.y);
      mma_16x8x16<T>(sum[tile], {low.z, high.z, low.w, high.w}, b.z, b.w);
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) grouped_stream_kernel(const __grid_constant__ GroupedArgs a) {
  __shared__ float partial[kWarps][kTokens][kWeightRows];
  const Expert expert = expert_of(a, blockIdx.y);
  const int num_weight_rows = a.num_outputs * (a.gated ? 2 : 1);
  const int first_row = blockIdx.x * kWeightRows;
  const int lane = threadIdx.x % kWarp;
  const T* weight_row[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {  // behind the last row: any row, whose result nobody stores
    const int row = min(first_row + lane / 4 + i * 8, num_weight_rows - 1);
    weight_row[i] = static_cast<const T*>(expert.weight) + static_cast<int64_t>(row) * a.stride;
  }
  for (int begin = expert.begin; begin < expert.end; begin += kTokens) {
    const float* x[kTokenTiles];
#pragma unroll
    for (int tile = 0; tile < kTokenTiles; ++tile) x[tile] = x_row(a, begin + tile * 8 + lane / 4, expert.end);
    float sum[kTokenTiles][4] = {};
    multiply<T>(a, weight_row, x, sum);
#pragma unroll
    for (int tile = 0; tile < kTokenTiles; ++tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        partial[threadIdx.x / kWarp][tile * 8 + lane % 4 * 2 + i % 2][lane / 4 + i / 2 * 8] = sum[tile][i];
      }
    }
    __syncthreads();
    const auto total = [&](int token, int row) {
      float result = 0;
#pragma unroll
      for (int warp = 0; warp < kWarps; ++warp) result += partial[warp][token][row];
      return result;
    };
    const int rows = a.gated ? kWeightRows / 2 : kWeightRows;  // of y
    const int token = threadIdx.x / rows;
    const int row = threadIdx.x % rows;
    const int output = blockIdx.x * rows + row;
    if (token < kTokens && begin + token < expert.end && output < a.num_outputs) {
      float* y = a.y + static_cast<int64_t>(begin + token) * a.num_outputs;
      y[output] = a.gated ? silu(total(token, 2 * row)) * total(token, 2 * row + 1) : total(token, row);
    }
    __syncthreads();
  }
}

constexpr int kThinWarps = 4;

// A block a row of x; a warp an output at a time, in fp32.
template <typename T>
__global__ void __launch_bounds__(kThinWarps* kWarp) thin_kernel(ThinArgs a) {
  const float* x = a.x + static_cast<int64_t>(blockIdx.x) * a.num_inputs;
  const bool is_aligned = a.num_inputs % 4 == 0;
  for (int output = threadIdx.x / kWarp; output < a.num_outputs; output += kThinWarps) {
    const T* weight = static_cast<const T*>(a.weight) + static_cast<int64_t>(output) * a.stride;
    float sum = 0;
#pragma unroll 2
    for (int k = threadIdx.x % kWarp * 8; k < a.stride; k += kWarp * 8) {
      float factors[8];
      float values[8];
      unpack8<T>(*reinterpret_cast<const uint4*>(weight + k), factors);
      load8(x, k, a.num_inputs, is_aligned, values);
#pragma unroll
      for (int i = 0; i < 8; ++i) sum += factors[i] * values[i];
    }
    sum = warp_sum(sum);
    if (threadIdx.x % kWarp == 0) a.y[static_cast<int64_t>(blockIdx.x) * a.num_outputs + output] = sum;
  }
}

}  // namespace

void grouped_stream(const GroupedArgs& args, cudaStream_t stream) {
  if (args.max_assignments == 0 || args.num_outputs == 0) return;
  const int num_weight_rows = args.num_outputs * (args.gated ? 2 : 1);
  const dim3 grid((num_weight_rows + kWeightRows - 1) / kWeightRows, args.num_experts);
  if (args.element == Element::kBF16) {
    grouped_stream_kernel<__nv_bfloat16><<<grid, kThreads, 0, stream>>>(args);
  } else {
    grouped_stream_kernel<__half><<<grid, kThreads, 0, stream>>>(args);
  }
  OCTET_CUDA_CHECK_LAUNCH();
}

void thin_product(const ThinArgs& args, cudaStream_t stream) {
  if (args.num_rows == 0) return;
  if (args.element == Element::kBF16) {
    thin_kernel<__nv_bfloat16><<<args.num_rows, kThinWarps * kWarp, 0, stream>>>(args);
  } else {
    thin_kernel<__half><<<args.num_rows, kThinWarps * kWarp, 0, stream>>>(args);
  }
  OCTET_CUDA_CHECK_LAUNCH();
}

}  // namespace octet::cuda
