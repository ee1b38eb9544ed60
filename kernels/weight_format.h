// WeightFormat: how the elements of a weight matrix are stored. The one place that knows how many bytes they take, and
// between which of them a matrix may be cut.
#pragma once

#include <cstdint>

#include "runtime/base/tensor.h"

namespace octet {

// What the bits of one stored number mean, and how many they are.
struct NumberFormat {
  enum class Kind : uint8_t { kNone, kInteger, kFloat, kBrainFloat };

  Kind kind = Kind::kNone;
  int bits = 0;

  bool operator==(const NumberFormat&) const = default;
};

constexpr NumberFormat number_format(DType dtype) {
  using Kind = NumberFormat::Kind;
  const auto bits = static_cast<int>(8 * dtype_size(dtype));
  if (dtype == DType::kBF16) return {Kind::kBrainFloat, bits};
  return {dtype == DType::kI32 || dtype == DType::kI8 ? Kind::kInteger : Kind::kFloat, bits};
}

// Consecutive elements of a row form groups, the first at column 0; the last group of a row may be shorter. A value is
// scale · element + minimum, with the scale and the minimum of the element's group. A group is stored in one piece,
// together with its scale and minimum; a whole one takes whole bytes.
struct WeightFormat {
  NumberFormat element = number_format(DType::kF32);
  int64_t group = 1;      // elements
  NumberFormat scales;    // one a group; kNone: 1
  NumberFormat minimums;  // one a group; kNone: 0

  constexpr WeightFormat() = default;
  // A plain format is its type: every element stands alone, as it is.
  constexpr WeightFormat(DType dtype) : element(number_format(dtype)) {}

  bool operator==(const WeightFormat&) const = default;
  // The type of a plain format that is kF32, kBF16 or kF16: those are all that products and loaders know. REQUIRES one.
  DType dtype() const;

  // Whether a row may be cut in front of this column: a slice holds whole groups.
  bool may_cut(int64_t column) const { return column % group == 0; }
  // Bytes of `num_columns` consecutive elements that begin with a group.
  int64_t row_bytes(int64_t num_columns) const {
    const int64_t group_bits = group * element.bits + scales.bits + minimums.bits;
    const int64_t rest = num_columns % group;
    const int64_t rest_bits = rest > 0 ? group_bits - (group - rest) * element.bits : 0;
    return num_columns / group * (group_bits / 8) + (rest_bits + 7) / 8;
  }
};

// Bytes of a matrix: what every size of weights is computed with.
inline int64_t matrix_bytes(const WeightFormat& format, int64_t num_rows, int64_t num_columns) {
  return num_rows * format.row_bytes(num_columns);
}

}  // namespace octet
