// What the tests of the software GPU share.
#pragma once

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

// For calls that later ones build upon: ends the process.
#define CUDA(call)                                                                                    \
  do {                                                                                                \
    const cudaError_t error_ = (call);                                                                \
    if (error_ != cudaSuccess) {                                                                      \
      std::fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(error_)); \
      std::exit(1);                                                                                   \
    }                                                                                                 \
  } while (0)

// |actual − expected| ≤ tolerance · (1 + |expected|); two NaNs are near, and so are equal infinities.
inline testing::AssertionResult is_near(double actual, double expected, double tolerance) {
  if (actual == expected || (std::isnan(actual) && std::isnan(expected)) ||
      std::fabs(actual - expected) <= tolerance * (1 + std::fabs(expected))) {
    return testing::AssertionSuccess();
  }
  return testing::AssertionFailure() << actual << " instead of " << expected;
}
#define EXPECT_CLOSE(actual, expected, tolerance) \
  EXPECT_TRUE(is_near(double(actual), double(expected), double(tolerance))) << #actual

#define EXPECT_CONTAINS(text, part) EXPECT_PRED_FORMAT2(testing::IsSubstring, part, text)

// A device array.
template <class T>
class Array {
 public:
  explicit Array(std::size_t n) : size_(n) { CUDA(cudaMalloc(&data_, n * sizeof(T))); }
  explicit Array(const std::vector<T>& values) : Array(values.size()) {
    CUDA(cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  ~Array() { cudaFree(data_); }
  Array(const Array&) = delete;
  T* get() const { return data_; }
  operator T*() const { return data_; }
  std::vector<T> host() const {
    std::vector<T> values(size_);
    CUDA(cudaMemcpy(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  T* data_ = nullptr;
  std::size_t size_;
};

inline std::vector<float> random_floats(std::size_t n, float low = -1, float high = 1, unsigned seed = 1) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> distribution(low, high);
  std::vector<float> values(n);
  for (float& v : values) v = distribution(generator);
  return values;
}
inline std::vector<unsigned> random_words(std::size_t n, unsigned seed = 1) {
  std::mt19937 generator(seed);
  std::vector<unsigned> values(n);
  for (unsigned& v : values) v = generator() >> (generator() % 32);
  return values;
}
