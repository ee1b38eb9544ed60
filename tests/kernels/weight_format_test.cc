// Formats of weights, those that there are and made-up ones: sizes add up, whole groups alone are cut, and a slice has
// the bytes that its matrix has there.
#include "kernels/weight_format.h"

#include <gtest/gtest.h>

#include <numeric>

#include "kernels/weight.h"

namespace octet {
namespace {

constexpr NumberFormat kNibble{NumberFormat::Kind::kInteger, 4};
constexpr NumberFormat kHalf = number_format(DType::kF16);

WeightFormat grouped(NumberFormat element, int64_t group, NumberFormat scales, NumberFormat minimums) {
  WeightFormat format;
  format.element = element;
  format.group = group;
  format.scales = scales;
  format.minimums = minimums;
  return format;
}

const WeightFormat kFormats[] = {DType::kF32,
                                 DType::kBF16,
                                 DType::kF16,
                                 grouped(kNibble, 32, kHalf, kHalf),
                                 grouped(kNibble, 32, kHalf, {}),
                                 grouped({NumberFormat::Kind::kInteger, 6}, 64, number_format(DType::kF32), {}),
                                 grouped(number_format(DType::kI8), 128, number_format(DType::kBF16), {}),
                                 grouped({NumberFormat::Kind::kFloat, 8}, 1, {}, {})};

TEST(WeightFormat, PlainOnesAreTheirTypes) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    const WeightFormat format = dtype;
    EXPECT_EQ(format.dtype(), dtype);
    EXPECT_EQ(format.row_bytes(7), 7 * dtype_size(dtype));
    EXPECT_TRUE(format.may_cut(7));
  }
  EXPECT_NE(WeightFormat(DType::kF16), WeightFormat(DType::kBF16));
}

TEST(WeightFormat, BytesAreThoseOfElementsScalesAndMinimums) {
  const WeightFormat q4 = grouped(kNibble, 32, kHalf, kHalf);
  EXPECT_EQ(q4.row_bytes(32), 16 + 2 + 2);
  EXPECT_EQ(q4.row_bytes(4096), 128 * 20);
  EXPECT_EQ(q4.row_bytes(33), 20 + 1 + 4);  // one element of the next group, in a byte of its own
  EXPECT_EQ(q4.row_bytes(0), 0);
  EXPECT_EQ(matrix_bytes(q4, 3, 64), 3 * 40);
  EXPECT_EQ(grouped({NumberFormat::Kind::kInteger, 6}, 64, number_format(DType::kF32), {}).row_bytes(128), 2 * 52);
}

TEST(WeightFormatDeathTest, WhatIsNotPlainHasNoType) {
  EXPECT_DEATH((void)grouped(kNibble, 32, kHalf, kHalf).dtype(), "groups of 32");
  EXPECT_DEATH((void)WeightFormat(DType::kI8).dtype(), "no plain floating-point type");
}

// Wherever a row may be cut, also where its last group is a short one.
TEST(WeightFormat, PiecesTakeWhatTheWholeTakes) {
  for (const WeightFormat& format : kFormats) {
    for (const int64_t columns : {1, 31, 32, 96, 128, 200, 257, 1024}) {
      int64_t cuts = 0;
      for (int64_t cut = 0; cut <= columns; ++cut) {
        if (!format.may_cut(cut)) continue;
        ++cuts;
        EXPECT_EQ(format.row_bytes(cut) + format.row_bytes(columns - cut), format.row_bytes(columns))
            << format.element.bits << " bits in groups of " << format.group << ", " << cut << " of " << columns;
      }
      EXPECT_EQ(cuts, columns / format.group + 1);
    }
  }
}

// Slices of slices, by rows and columns, in any order: each row's bytes are those of the whole matrix there.
TEST(MatrixSource, ASliceHasTheBytesOfItsMatrix) {
  constexpr int64_t kRows = 5, kColumns = 300;
  for (const WeightFormat& format : kFormats) {
    std::vector<std::byte> bytes(static_cast<size_t>(matrix_bytes(format, kRows, kColumns)));
    const std::vector<int32_t> order = {3, 0, 4, 1, 2};
    MatrixSource whole;
    whole.data = bytes.data();
    whole.format = format;
    whole.num_rows = kRows;
    whole.num_columns = whole.row_stride = kColumns;
    EXPECT_EQ(whole.num_bytes(), std::ssize(bytes));
    for (const bool ordered : {false, true}) {
      whole.row_order = ordered ? std::span<const int32_t>(order) : std::span<const int32_t>();
      const int64_t begin = std::lcm(format.group, int64_t{32});
      const MatrixSource columns = whole.slice_columns(begin, kColumns - begin);
      const MatrixSource slice = columns.slice_rows(1, 3).slice_columns(0, format.group);
      EXPECT_EQ(slice.num_bytes(), matrix_bytes(format, 3, format.group));
      for (int64_t row = 0; row < 3; ++row) {
        const int64_t stored = ordered ? order[static_cast<size_t>(row) + 1] : row + 1;
        const std::byte* expected = bytes.data() + stored * format.row_bytes(kColumns) + format.row_bytes(begin);
        EXPECT_EQ(slice.row(row), expected);
        EXPECT_LE(slice.row(row) + format.row_bytes(format.group), bytes.data() + bytes.size());
      }
    }
  }
}

TEST(MatrixSourceDeathTest, ASliceCutsNoGroup) {
  MatrixSource matrix;
  matrix.format = grouped(kNibble, 32, kHalf, kHalf);
  matrix.num_rows = 1;
  matrix.num_columns = matrix.row_stride = 80;
  EXPECT_DEATH((void)matrix.slice_columns(16, 32), "cut a group of 32");
  EXPECT_DEATH((void)matrix.slice_columns(0, 33), "cut a group of 32");
  EXPECT_EQ(matrix.slice_columns(32, 48).num_bytes(), 20 + 12);  // to the end
}

}  // namespace
}  // namespace octet
