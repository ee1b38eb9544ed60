// Launches of the row-wise kernels. All pointers are device memory; zero rows launch nothing.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace octet::cuda {

// The floating-point types that tables and weights may have.
enum class Element : int { kF32, kBF16, kF16 };

struct EmbedArgs {
  const int32_t* ids;
  const void* table;  // [*, width]
  Element element;
  float* out;  // [num_rows, width]
  int num_rows;
  int width;
};
void embed(const EmbedArgs& args, cudaStream_t stream);

struct GatherArgs {
  const void* source;
  const int32_t* row_index;
  void* out;
  int num_rows;
  int64_t row_bytes;
};
void gather_rows(const GatherArgs& args, cudaStream_t stream);

// x += delta, element by element.
void add(float* x, const float* delta, int64_t count, cudaStream_t stream);
void f32_to_bf16(const float* source, void* destination, int64_t count, cudaStream_t stream);
void bf16_to_f32(const void* source, float* destination, int64_t count, cudaStream_t stream);
void round_to_bf16(float* x, int64_t count, cudaStream_t stream);

// out[r] = x[row_index[r]], rounded to `element` (16 bit), with zeros in columns [width, stride). stride is a multiple
// of 8.
struct NarrowArgs {
  const float* x;            // [*, width]
  const int32_t* row_index;  // [num_rows]; null: r
  void* out;                 // [num_rows, stride]
  Element element;
  int num_rows;
  int width;
  int stride;
};
void narrow_rows(const NarrowArgs& args, cudaStream_t stream);

// y[r, n] = x[r, n]; gated: silu(x[r, 2n]) · x[r, 2n + 1]. stride is a multiple of 8.
struct WidenArgs {
  const void* x;  // 16 bit, [num_rows, stride]
  float* y;       // [num_rows, num_outputs]
  Element element;
  int num_rows;
  int num_outputs;
  int stride;
  bool gated;
};
void widen_outputs(const WidenArgs& args, cudaStream_t stream);

struct RmsNormArgs {
  const float* x;
  const float* weight;
  float* y;  // may be x
  float eps;
  int num_rows;
  int width;
};
void rms_norm(const RmsNormArgs& args, cudaStream_t stream);

}  // namespace octet::cuda
