#include "kernels/weight.h"

#include <cstring>

#include "runtime/base/check.h"
#include "runtime/base/float16.h"

namespace octet {

MatrixSource MatrixSource::slice_rows(int64_t begin, int64_t count) const {
  OCTET_CHECK(begin >= 0 && count >= 0 && begin + count <= num_rows, "rows {}+{} of {}", begin, count, num_rows);
  MatrixSource slice = *this;
  slice.num_rows = count;
  if (row_order.empty()) {
    slice.data += matrix_bytes(format, begin, row_stride);
  } else {
    slice.row_order = row_order.subspan(static_cast<size_t>(begin), static_cast<size_t>(count));
  }
  return slice;
}

MatrixSource MatrixSource::slice_columns(int64_t begin, int64_t count) const {
  OCTET_CHECK(begin >= 0 && count >= 0 && begin + count <= num_columns, "columns {}+{} of {}", begin, count,
              num_columns);
  const int64_t end = begin + count;
  OCTET_CHECK(format.may_cut(begin) && (end == num_columns || format.may_cut(end)),
              "columns {}+{} cut a group of {} elements", begin, count, format.group);
  MatrixSource slice = *this;
  slice.data += format.row_bytes(begin);
  slice.num_columns = count;
  return slice;
}

int64_t WeightSpec::num_outputs() const {
  if (gated) return parts.front().num_rows;
  int64_t rows = 0;
  for (const MatrixSource& part : parts) rows += part.num_rows;
  return rows;
}

void read_as_f32(const std::byte* source, DType dtype, int64_t count, float* destination) {
  const auto bits_at = [source](int64_t i) {
    uint16_t bits;
    std::memcpy(&bits, source + 2 * i, 2);
    return bits;
  };
  switch (dtype) {
    case DType::kF32:
      std::memcpy(destination, source, static_cast<size_t>(count) * 4);
      return;
    case DType::kBF16:
      for (int64_t i = 0; i < count; ++i) destination[i] = bf16_to_f32(bits_at(i));
      return;
    case DType::kF16:
      for (int64_t i = 0; i < count; ++i) destination[i] = f16_to_f32(bits_at(i));
      return;
    default:
      OCTET_CHECK(false, "{} is not a floating-point type", dtype_name(dtype));
  }
}

void write_from_f32(const float* source, int64_t count, DType dtype, std::byte* destination) {
  const auto store = [destination](int64_t i, uint16_t bits) { std::memcpy(destination + 2 * i, &bits, 2); };
  switch (dtype) {
    case DType::kF32:
      std::memcpy(destination, source, static_cast<size_t>(count) * 4);
      return;
    case DType::kBF16:
      for (int64_t i = 0; i < count; ++i) store(i, f32_to_bf16(source[i]));
      return;
    case DType::kF16:
      for (int64_t i = 0; i < count; ++i) store(i, f32_to_f16(source[i]));
      return;
    default:
      OCTET_CHECK(false, "{} is not a floating-point type", dtype_name(dtype));
  }
}

}  // namespace octet
