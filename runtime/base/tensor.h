// Element types, shapes, and the two ways to hold a tensor: TensorView (a place in somebody's memory) and Tensor (owns
// it).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include "runtime/base/check.h"

namespace octet {

using TokenId = int32_t;

enum class DType : uint8_t { kF32, kBF16, kF16, kI32, kI8 };

// Bytes of one element.
constexpr int64_t dtype_size(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kBF16:
    case DType::kF16:
      return 2;
    case DType::kI8:
      return 1;
  }
  return 0;
}

std::string_view dtype_name(DType dtype);

// Up to four extents, outermost first; row-major.
class Shape {
 public:
  static constexpr int kMaxRank = 4;

  Shape() = default;
  Shape(std::initializer_list<int64_t> extents);
  explicit Shape(std::span<const int64_t> extents);

  int rank() const { return rank_; }
  int64_t operator[](int i) const { return extents_[static_cast<size_t>(i)]; }
  int64_t num_elements() const;
  bool operator==(const Shape&) const = default;
  std::string to_string() const;  // "[2, 3]"

 private:
  std::array<int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

template <typename T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::kF32;
}
template <>
constexpr DType dtype_of<int32_t>() {
  return DType::kI32;
}
template <>
constexpr DType dtype_of<int8_t>() {
  return DType::kI8;
}

// Non-owning: `data` points at shape.num_elements() contiguous elements, in host or device memory as the context says.
struct TensorView {
  void* data = nullptr;
  DType dtype = DType::kF32;
  Shape shape;

  int64_t num_elements() const { return shape.num_elements(); }
  int64_t num_bytes() const { return num_elements() * dtype_size(dtype); }
  int64_t rows() const { return shape[0]; }
  // Elements of one row: everything behind the first extent.
  int64_t row_elements() const;

  // Typed access to host memory; the type must be the tensor's.
  template <typename T>
  T* as() const {
    OCTET_CHECK(dtype == dtype_of<T>(), "tensor holds {}", dtype_name(dtype));
    return static_cast<T*>(data);
  }

  // Rows [begin, begin + count) of the first extent.
  TensorView slice_rows(int64_t begin, int64_t count) const;
};

// memcpy that also takes null pointers when there is nothing to copy (a tensor without rows).
inline void copy_bytes(void* destination, const void* source, int64_t num_bytes) {
  if (num_bytes > 0) std::memcpy(destination, source, static_cast<size_t>(num_bytes));
}

// Owns one allocation; movable; freed by the deleter it came with.
class Buffer {
 public:
  using Deleter = std::function<void(void*, size_t)>;

  Buffer() = default;
  Buffer(void* data, size_t size, Deleter deleter) : data_(data), size_(size), deleter_(std::move(deleter)) {}
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer() { reset(); }

  // Host memory of `size` bytes, zeroed, aligned to 64 bytes; from 4 MiB on to 2 MiB, in huge pages where the system
  // has them, and resident only once touched. Throws OutOfMemory where the system refuses it.
  static Buffer host(size_t size);

  std::byte* data() const { return static_cast<std::byte*>(data_); }
  size_t size() const { return size_; }
  void reset();

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
  Deleter deleter_;
};

// A view and the memory behind it.
struct Tensor {
  Buffer buffer;
  TensorView view;

  // In host memory, zeroed.
  static Tensor host(DType dtype, Shape shape);
};

}  // namespace octet
