// Launches of the products with prepared weights. All pointers are device memory.
//
// A prepared weight is a matrix of 16-bit elements, row-major, its rows padded with zeros to `stride` elements, a
// multiple of kStrideUnit; of a gated weight, rows 2n and 2n + 1 are row n of w1 and of w3.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/row_kernels.h"

namespace octet::cuda {

inline constexpr int kStrideUnit = 32;

struct GroupedArgs {
  const void* weight;          // of the only expert, or
  const void* const* weights;  // [num_experts]; a table on the device, so that a captured launch finds what has moved
  // [num_experts + 1]: the assignments of each expert. Null where `weights` is: they are [0, num_rows).
  const int32_t* offsets;
  const int32_t* assignment_row;  // null: x's row of an assignment is its own index
  const void* x;  // grouped_stream: fp32 [*, num_inputs]; grouped_tiles: 16 bit, [*, stride], padded with zeros
  float* y;       // [max_assignments, num_outputs]
  Element element;
  int num_rows;
  int max_assignments;  // at least as many as offsets tell
  int num_experts;
  int num_inputs;
  int num_outputs;
  int stride;
  bool gated;
};
// For few rows an expert: reads each weight once a group of 16 rows.
void grouped_stream(const GroupedArgs& args, cudaStream_t stream);
// For many rows an expert.
void grouped_tiles(const GroupedArgs& args, cudaStream_t stream);

// A product with few outputs, x not rounded.
struct ThinArgs {
  const void* weight;  // 16 bit, [num_outputs, stride]
  const float* x;      // [num_rows, num_inputs]
  float* y;            // [num_rows, num_outputs]
  Element element;
  int num_rows;
  int num_inputs;
  int num_outputs;
  int stride;
};
inline constexpr int kMaxThinOutputs = 64;
void thin_product(const ThinArgs& args, cudaStream_t stream);

}  // namespace octet::cuda
