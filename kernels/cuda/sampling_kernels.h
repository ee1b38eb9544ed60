// The launch of sampling. All pointers are device memory.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/sample_spec.h"

namespace octet::cuda {

// Most tokens that are listed with one choice.
inline constexpr int kMaxListed = 1024;

struct SampleArgs {
  const float* logits;  // [*, vocab]
  const SampleSpec* samples;
  const LogitEdit* edits;
  float* edited;   // [num_samples, vocab] of scratch, where there are edits
  std::byte* out;  // [num_samples, stride]: SampledRows
  int64_t stride;
  int num_samples;  // 0: nothing is launched
  int vocab;
};
void sample(const SampleArgs& args, cudaStream_t stream);

}  // namespace octet::cuda
