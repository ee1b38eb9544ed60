// Weight matrices: as a checkpoint stores them (MatrixSource), as the model asks for them (WeightSpec), and as a
// backend keeps them (Weight).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/weight_format.h"

namespace octet {

// A matrix in a mapped file, row-major, not owned: row r begins with the group at element source_row(r) * row_stride of
// `data`, which need not be aligned.
struct MatrixSource {
  const std::byte* data = nullptr;
  WeightFormat format;
  int64_t num_rows = 0;
  int64_t num_columns = 0;
  int64_t row_stride = 0;              // elements from one row to the next: whole rows of what the file holds
  std::span<const int32_t> row_order;  // source_row(r) = row_order[r]; empty: r

  int64_t source_row(int64_t row) const { return row_order.empty() ? row : row_order[static_cast<size_t>(row)]; }
  const std::byte* row(int64_t r) const { return data + source_row(r) * format.row_bytes(row_stride); }
  int64_t num_bytes() const { return matrix_bytes(format, num_rows, num_columns); }
  MatrixSource slice_rows(int64_t begin, int64_t count) const;
  // REQUIRES format.may_cut(begin), and of the end if columns follow.
  MatrixSource slice_columns(int64_t begin, int64_t count) const;
};

// What a product with a weight computes.
struct WeightSpec {
  // Plain: the matrices stacked by rows, all with the same columns: y = [parts[0]; parts[1]; …] · x.
  // Gated: exactly two of one shape, w1 and w3: y = silu(w1 · x) ⊙ (w3 · x).
  std::vector<MatrixSource> parts;
  bool gated = false;
  // To keep the weight in.
  WeightFormat format;
  // The columns (inputs) are cut at these ascending bounds, first 0, last num_columns, pieces possibly empty. Every
  // piece gives a partial product, a chain of fp32 operations in ascending column, and the partials are added in the
  // midpoint tree sum[i,j) = sum[i,m) + sum[m,j), m = (i+j)/2. One piece: {0, num_columns}. A gated weight has one
  // piece.
  std::vector<int64_t> partial_bounds;

  int64_t num_inputs() const { return parts.front().num_columns; }
  int64_t num_outputs() const;  // rows of y: the sum of the parts' rows; of a gated weight, the rows of one part
};

// A weight in the layout that one backend's products read. Made by Backend::prepare, used only with that backend.
struct Weight {
  WeightFormat format;
  bool gated = false;
  int64_t num_inputs = 0;
  int64_t num_outputs = 0;
  std::vector<int64_t> partial_bounds;
  Buffer storage;
};

// Weights of one shape and format that a grouped product reads, by index. Made by Backend::group.
struct WeightGroup {
  std::vector<Weight> weights;
  Buffer addresses;  // of their storage, for kernels that look them up on the device; empty where none do
};

// Converts `count` elements of a checkpoint row to fp32 (exact).
void read_as_f32(const std::byte* source, DType dtype, int64_t count, float* destination);
// Rounds `count` fp32 values to `dtype` (kF32, kBF16 or kF16; to nearest even).
void write_from_f32(const float* source, int64_t count, DType dtype, std::byte* destination);

}  // namespace octet
