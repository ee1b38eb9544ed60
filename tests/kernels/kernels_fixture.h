// What the tests of the kernels share: seeded inputs, the backends to test, and comparisons.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/reference/reference_backend.h"

namespace octet {

// Seeded values in [-1, 1).
class RandomValues {
 public:
  explicit RandomValues(uint32_t seed) : engine_(seed) {}

  float real() { return std::uniform_real_distribution<float>(-1.0F, 1.0F)(engine_); }
  int32_t below(int64_t bound) {
    return static_cast<int32_t>(std::uniform_int_distribution<int64_t>(0, bound - 1)(engine_));
  }
  Tensor tensor(Shape shape) {
    Tensor tensor = Tensor::host(DType::kF32, shape);
    for (int64_t i = 0; i < shape.num_elements(); ++i) tensor.view.as<float>()[i] = real();
    return tensor;
  }
  // Of any floating-point type.
  Tensor tensor(DType dtype, Shape shape) {
    const Tensor values = tensor(shape);
    Tensor rounded = Tensor::host(dtype, shape);
    write_from_f32(values.view.as<float>(), shape.num_elements(), dtype, static_cast<std::byte*>(rounded.view.data));
    return rounded;
  }

 private:
  std::mt19937 engine_;
};

inline Tensor int_tensor(const std::vector<int32_t>& values, Shape shape) {
  Tensor tensor = Tensor::host(DType::kI32, shape);
  std::copy(values.begin(), values.end(), tensor.view.as<int32_t>());
  return tensor;
}

// Distinct expert ids of each row, some of them -1.
inline std::vector<int32_t> random_choices(RandomValues& random, int64_t rows, int64_t top_k, int64_t num_experts) {
  std::vector<int32_t> ids;
  std::vector<int32_t> deck(static_cast<size_t>(num_experts));
  for (int64_t r = 0; r < rows; ++r) {
    std::iota(deck.begin(), deck.end(), 0);
    for (int64_t j = 0; j < top_k; ++j) {
      std::swap(deck[static_cast<size_t>(j)], deck[static_cast<size_t>(j + random.below(num_experts - j))]);
      ids.push_back(random.below(10) == 0 ? -1 : deck[static_cast<size_t>(j)]);
    }
  }
  return ids;
}

inline MatrixSource matrix_source(const Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.view.data),
          tensor.view.dtype,
          tensor.view.rows(),
          tensor.view.row_elements(),
          tensor.view.row_elements(),
          {}};
}

// The instruction sets of this machine.
inline std::vector<std::string> isas() {
  std::vector<std::string> names;
  for (const char* name : {"avx2", "avx512"}) {
    if (find_isa(name).ok()) names.emplace_back(name);
  }
  return names;
}

inline std::unique_ptr<CpuBackend> cpu_backend(const std::string& isa, int num_threads) {
  return std::make_unique<CpuBackend>(find_isa(isa).value(), num_threads);
}

// Every backend that a test runs over: (instruction set, threads).
using BackendParam = std::tuple<std::string, int>;

class CpuBackendTest : public testing::TestWithParam<BackendParam> {
 protected:
  std::unique_ptr<CpuBackend> backend_ = cpu_backend(std::get<0>(GetParam()), std::get<1>(GetParam()));
  ReferenceBackend reference_;
  HostStream stream_;
};

inline std::string backend_param_name(const testing::TestParamInfo<BackendParam>& info) {
  return std::get<0>(info.param) + "_" + std::to_string(std::get<1>(info.param));
}

#define OCTET_INSTANTIATE_ON_CPU(suite)                                                                       \
  INSTANTIATE_TEST_SUITE_P(Cpu, suite, testing::Combine(testing::ValuesIn(isas()), testing::Values(1, 2, 3)), \
                           backend_param_name)

// |actual - expected| <= tolerance · max(1, the largest |expected|), element by element.
inline void expect_near(TensorView actual, TensorView expected, double tolerance) {
  ASSERT_EQ(actual.num_elements(), expected.num_elements());
  const float* a = actual.as<float>();
  const float* e = expected.as<float>();
  double largest = 1;
  for (int64_t i = 0; i < expected.num_elements(); ++i) largest = std::max(largest, std::abs(double{e[i]}));
  for (int64_t i = 0; i < expected.num_elements(); ++i) {
    ASSERT_LE(std::abs(double{a[i]} - double{e[i]}), tolerance * largest)
        << "at " << i << ": " << a[i] << " for " << e[i];
  }
}

inline void expect_same_bits(TensorView actual, TensorView expected) {
  ASSERT_EQ(actual.num_bytes(), expected.num_bytes());
  EXPECT_EQ(std::memcmp(actual.data, expected.data, static_cast<size_t>(actual.num_bytes())), 0);
}

}  // namespace octet
