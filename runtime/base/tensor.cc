#include "runtime/base/tensor.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "runtime/base/out_of_memory.h"

namespace octet {

std::string_view dtype_name(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "F32";
    case DType::kBF16:
      return "BF16";
    case DType::kF16:
      return "F16";
    case DType::kI32:
      return "I32";
    case DType::kI8:
      return "I8";
  }
  return "?";
}

Shape::Shape(std::initializer_list<int64_t> extents) : Shape(std::span(extents.begin(), extents.size())) {}

Shape::Shape(std::span<const int64_t> extents) : rank_(static_cast<int>(extents.size())) {
  OCTET_CHECK(rank_ <= kMaxRank, "{} extents", rank_);
  for (size_t i = 0; i < extents.size(); ++i) extents_[i] = extents[i];
}

int64_t Shape::num_elements() const {
  int64_t product = 1;
  for (int i = 0; i < rank_; ++i) product *= extents_[static_cast<size_t>(i)];
  return product;
}

std::string Shape::to_string() const {
  std::string text = "[";
  for (int i = 0; i < rank_; ++i) text += (i == 0 ? "" : ", ") + std::to_string((*this)[i]);
  return text + "]";
}

int64_t TensorView::row_elements() const {
  int64_t product = 1;
  for (int i = 1; i < shape.rank(); ++i) product *= shape[i];
  return product;
}

TensorView TensorView::slice_rows(int64_t begin, int64_t count) const {
  OCTET_CHECK(begin >= 0 && count >= 0 && begin + count <= rows(), "rows {}..{} of {}", begin, begin + count, rows());
  std::array<int64_t, Shape::kMaxRank> extents{};
  extents[0] = count;
  for (int i = 1; i < shape.rank(); ++i) extents[static_cast<size_t>(i)] = shape[i];
  std::byte* start = static_cast<std::byte*>(data) + begin * row_elements() * dtype_size(dtype);
  return {start, dtype, Shape(std::span<const int64_t>(extents.data(), static_cast<size_t>(shape.rank())))};
}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this != &other) {
    reset();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    deleter_ = std::move(other.deleter_);
  }
  return *this;
}

void Buffer::reset() {
  if (data_ != nullptr) deleter_(data_, size_);
  data_ = nullptr;
  size_ = 0;
}

Buffer Buffer::host(size_t size) {
  constexpr size_t kHugePage = size_t{2} << 20;
  if (size < 2 * kHugePage) {
    const size_t padded = std::max((size + 63) / 64 * 64, size_t{64});
    void* data = std::aligned_alloc(64, padded);
    if (data == nullptr) throw OutOfMemory(padded);
    std::memset(data, 0, padded);
    return {data, size, [](void* memory, size_t) { std::free(memory); }};
  }
  // The kernel zeroes pages on first touch, so a large buffer costs only what is used of it.
  if (size > SIZE_MAX - kHugePage) throw OutOfMemory(size);
  const size_t mapped = size + kHugePage;
  void* mapping = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) throw OutOfMemory(size);
  void* data = mapping;
  size_t space = mapped;
  std::align(kHugePage, size, data, space);
  madvise(data, size, MADV_HUGEPAGE);
  return {data, size, [mapping, mapped](void*, size_t) { munmap(mapping, mapped); }};
}

Tensor Tensor::host(DType dtype, Shape shape) {
  Tensor tensor;
  tensor.buffer = Buffer::host(static_cast<size_t>(shape.num_elements() * dtype_size(dtype)));
  tensor.view = {tensor.buffer.data(), dtype, shape};
  return tensor;
}

}  // namespace octet
