// Row-wise kernels: bound by memory; 16-byte accesses where widths and addresses allow. 256 threads and at
// most 34 registers each: seven or eight blocks on an SM (on 8.6 and 8.9 at most 38, and all of its six).
#include "kernels/cuda/cuda_check.h"
#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/row_kernels.h"

namespace octet::cuda {
namespace {

constexpr int kThreads = 256;

__device__ float element_at(const void* table, Element element, int64_t at) {
  if (element == Element::kF32) return static_cast<const float*>(table)[at];
  if (element == Element::kBF16) return __bfloat162float(static_cast<const __nv_bfloat16*>(table)[at]);
  return __half2float(static_cast<const __half*>(table)[at]);
}

__global__ void __launch_bounds__(kThreads) embed_kernel(EmbedArgs a) {
  const int64_t from = static_cast<int64_t>(a.ids[blockIdx.x]) * a.width;
  float* out = a.out + static_cast<int64_t>(blockIdx.x) * a.width;
  for (int i = threadIdx.x; i < a.width; i += kThreads) out[i] = element_at(a.table, a.element, from + i);
}

template <typename Unit>
__global__ void __launch_bounds__(kThreads) gather_kernel(GatherArgs a) {
  const int64_t units = a.row_bytes / static_cast<int64_t>(sizeof(Unit));
  const Unit* from = static_cast<const Unit*>(a.source) + a.row_index[blockIdx.x] * units;
  Unit* out = static_cast<Unit*>(a.out) + blockIdx.x * units;
  for (int64_t i = threadIdx.x; i < units; i += kThreads) out[i] = from[i];
}

// Calls body(i) for every i < count, over the whole grid.
template <typename Body>
__global__ void __launch_bounds__(kThreads) each_kernel(int64_t count, Body body) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count; i += stride) body(i);
}

template <typename Body>
void for_each(int64_t count, cudaStream_t stream, Body body) {
  if (count == 0) return;
  constexpr int64_t kMostBlocks = 4096;
  const int64_t blocks = (count + kThreads - 1) / kThreads;
  each_kernel<<<static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks), kThreads, 0, stream>>>(count, body);
  OCTET_CUDA_CHECK_LAUNCH();
}

bool aligned(const void* pointer, int64_t bytes) { return reinterpret_cast<uintptr_t>(pointer) % bytes == 0; }

template <typename T>
__global__ void __launch_bounds__(kThreads) narrow_kernel(NarrowArgs a) {
  const int64_t row = a.row_index == nullptr ? blockIdx.x : a.row_index[blockIdx.x];
  const float* x = a.x + row * a.width;
  T* out = static_cast<T*>(a.out) + static_cast<int64_t>(blockIdx.x) * a.stride;
  const bool is_aligned = a.width % 4 == 0;
  for (int begin = threadIdx.x * 8; begin < a.stride; begin += kThreads * 8) {
    float values[8];
    load8(x, begin, a.width, is_aligned, values);
    *reinterpret_cast<uint4*>(out + begin) = pack8<T>(values);
  }
}

template <typename T, bool kGated>
__global__ void __launch_bounds__(kThreads) widen_kernel(WidenArgs a) {
  constexpr int kResults = kGated ? 4 : 8;  // of eight elements
  const T* x = static_cast<const T*>(a.x) + static_cast<int64_t>(blockIdx.x) * a.stride;
  float* y = a.y + static_cast<int64_t>(blockIdx.x) * a.num_outputs;
  const bool is_aligned = a.num_outputs % 4 == 0;
  for (int begin = threadIdx.x * kResults; begin < a.num_outputs; begin += kThreads * kResults) {
    const int count = min(kResults, a.num_outputs - begin);
    const T* from = x + begin * (8 / kResults);
    float values[8];
    if (count == kResults) {
      unpack8<T>(*reinterpret_cast<const uint4*>(from), values);
    } else {
#pragma unroll
      for (int i = 0; i < 8; ++i) values[i] = i * kResults < count * 8 ? static_cast<float>(from[i]) : 0.0F;
    }
    if (kGated) {
#pragma unroll
      for (int i = 0; i < kResults; ++i) values[i] = silu(values[2 * i]) * values[2 * i + 1];
    }
    if (is_aligned && count == kResults) {
#pragma unroll
      for (int i = 0; i < kResults; i += 4)
        *reinterpret_cast<float4*>(y + begin + i) = {values[i], values[i + 1], values[i + 2], values[i + 3]};
    } else {
#pragma unroll
      for (int i = 0; i < kResults; ++i) {
        if (i < count) y[begin + i] = values[i];
      }
    }
  }
}

template <typename T>
void widen(const WidenArgs& args, cudaStream_t stream) {
  if (args.gated) {
    widen_kernel<T, true><<<args.num_rows, kThreads, 0, stream>>>(args);
  } else {
    widen_kernel<T, false><<<args.num_rows, kThreads, 0, stream>>>(args);
  }
  OCTET_CUDA_CHECK_LAUNCH();
}

__global__ void __launch_bounds__(kThreads) rms_norm_kernel(RmsNormArgs a) {
  __shared__ float warp_sums[kThreads / kWarp];
  const float* x = a.x + static_cast<int64_t>(blockIdx.x) * a.width;
  float* y = a.y + static_cast<int64_t>(blockIdx.x) * a.width;
  const bool is_aligned = a.width % 4 == 0;
  float sum = 0;
  for (int begin = threadIdx.x * 8; begin < a.width; begin += kThreads * 8) {
    float values[8];
    load8(x, begin, a.width, is_aligned, values);
#pragma unroll
    for (int i = 0; i < 8; ++i) sum += values[i] * values[i];
  }
  sum = warp_sum(sum);
  if (threadIdx.x % kWarp == 0) warp_sums[threadIdx.x / kWarp] = sum;
  __syncthreads();
  float total = 0;
#pragma unroll
  for (int i = 0; i < kThreads / kWarp; ++i) total += warp_sums[i];
  const float scale = 1.0F / sqrtf(total / static_cast<float>(a.width) + a.eps);
  for (int i = threadIdx.x; i < a.width; i += kThreads) y[i] = x[i] * scale * a.weight[i];
}

}  // namespace

void embed(const EmbedArgs& args, cudaStream_t stream) {
  if (args.num_rows == 0) return;
  embed_kernel<<<args.num_rows, kThreads, 0, stream>>>(args);
  OCTET_CUDA_CHECK_LAUNCH();
}

void gather_rows(const GatherArgs& args, cudaStream_t stream) {
  if (args.num_rows == 0 || args.row_bytes == 0) return;
  const auto fits = [&args](int64_t unit) {
    return args.row_bytes % unit == 0 && aligned(args.source, unit) && aligned(args.out, unit);
  };
  if (fits(16)) {
    gather_kernel<uint4><<<args.num_rows, kThreads, 0, stream>>>(args);
  } else if (fits(4)) {
    gather_kernel<uint32_t><<<args.num_rows, kThreads, 0, stream>>>(args);
  } else {
    gather_kernel<uint8_t><<<args.num_rows, kThreads, 0, stream>>>(args);
  }
  OCTET_CUDA_CHECK_LAUNCH();
}

void add(float* x, const float* delta, int64_t count, cudaStream_t stream) {
  if (count % 4 != 0 || !aligned(x, 16) || !aligned(delta, 16)) {
    for_each(count, stream, [=] __device__(int64_t i) { x[i] += delta[i]; });
    return;
  }
  auto* sums = reinterpret_cast<float4*>(x);
  const auto* addends = reinterpret_cast<const float4*>(delta);
  for_each(count / 4, stream, [=] __device__(int64_t i) {
    const float4 a = sums[i];
    const float4 b = addends[i];
    sums[i] = {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
  });
}

void f32_to_bf16(const float* source, void* destination, int64_t count, cudaStream_t stream) {
  auto* out = static_cast<__nv_bfloat16*>(destination);
  for_each(count, stream, [=] __device__(int64_t i) { out[i] = __float2bfloat16_rn(source[i]); });
}

void bf16_to_f32(const void* source, float* destination, int64_t count, cudaStream_t stream) {
  const auto* in = static_cast<const __nv_bfloat16*>(source);
  for_each(count, stream, [=] __device__(int64_t i) { destination[i] = __bfloat162float(in[i]); });
}

void round_to_bf16(float* x, int64_t count, cudaStream_t stream) {
  for_each(count, stream, [=] __device__(int64_t i) { x[i] = __bfloat162float(__float2bfloat16_rn(x[i])); });
}

void narrow_rows(const NarrowArgs& args, cudaStream_t stream) {
  if (args.num_rows == 0) return;
  if (args.element == Element::kBF16) {
    narrow_kernel<__nv_bfloat16><<<args.num_rows, kThreads, 0, stream>>>(args);
  } else {
    narrow_kernel<__half><<<args.num_rows, kThreads, 0, stream>>>(args);
  }
  OCTET_CUDA_CHECK_LAUNCH();
}

void widen_outputs(const WidenArgs& args, cudaStream_t stream) {
  if (args.num_rows == 0) return;
  if (args.element == Element::kBF16) {
    widen<__nv_bfloat16>(args, stream);
  } else {
    widen<__half>(args, stream);
  }
}

void rms_norm(const RmsNormArgs& args, cudaStream_t stream) {
  if (args.num_rows == 0) return;
  rms_norm_kernel<<<args.num_rows, kThreads, 0, stream>>>(args);
  OCTET_CUDA_CHECK_LAUNCH();
}

}  // namespace octet::cuda
