// Seeded inputs of the benchmarks.
#pragma once

#include <cstdint>
#include <random>

#include "runtime/base/tensor.h"

namespace octet {

// fp32 values in [-1, 1).
inline Tensor random_tensor(Shape shape, uint32_t seed) {
  Tensor tensor = Tensor::host(DType::kF32, shape);
  std::minstd_rand engine(seed);
  float* values = tensor.view.as<float>();
  for (int64_t i = 0; i < shape.num_elements(); ++i) {
    values[i] = static_cast<float>(engine()) / static_cast<float>(std::minstd_rand::max()) * 2 - 1;
  }
  return tensor;
}

}  // namespace octet
