// Launches of routing, grouping and combining. All pointers are device memory; zero rows launch only what must be
// written all the same.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace octet::cuda {

struct RouteArgs {
  const float* logits;  // [num_rows, num_experts]
  int32_t* ids;         // [num_rows, top_k]
  float* weights;       // [num_rows, top_k]
  int num_rows;
  int num_experts;
  int top_k;
};
void route_top_k(const RouteArgs& args, cudaStream_t stream);

struct GroupArgs {
  const int32_t* ids;           // [num_choices / top_k, top_k]
  const int32_t* local_expert;  // [num_experts]
  int32_t* offsets;             // [num_local + 1]
  int32_t* assignment_row;
  int32_t* slots;  // [num_choices]
  int num_choices;
  int top_k;
  int num_local;
};
void group_by_expert(const GroupArgs& args, cudaStream_t stream);

struct WeightedSumArgs {
  const float* y;
  const int32_t* slots;  // [num_rows, top_k]
  const int32_t* ids;
  const float* weights;
  float* out;  // [num_rows, width]
  int num_rows;
  int top_k;
  int width;
  bool rounds_products;  // to bf16
};
void weighted_sum(const WeightedSumArgs& args, cudaStream_t stream);

}  // namespace octet::cuda
