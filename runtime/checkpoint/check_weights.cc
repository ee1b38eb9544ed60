#include "runtime/checkpoint/check_weights.h"

#include <cstring>
#include <optional>

namespace octet {
namespace {

// Column of the first element whose exponent bits are all ones (NaN or infinity); none in a finite row.
template <typename Bits>
std::optional<int64_t> first_not_finite(const std::byte* row, int64_t num_columns, Bits exponent) {
  bool found = false;
  for (int64_t c = 0; c < num_columns; ++c) {  // without a branch, so that it runs at the memory's speed
    Bits bits;
    std::memcpy(&bits, row + c * static_cast<int64_t>(sizeof(Bits)), sizeof(Bits));
    found |= (bits & exponent) == exponent;
  }
  if (!found) return std::nullopt;
  for (int64_t c = 0;; ++c) {
    Bits bits;
    std::memcpy(&bits, row + c * static_cast<int64_t>(sizeof(Bits)), sizeof(Bits));
    if ((bits & exponent) == exponent) return c;
  }
}

std::optional<int64_t> first_not_finite(const MatrixSource& matrix, int64_t row) {
  switch (matrix.format.dtype()) {
    case DType::kBF16:
      return first_not_finite<uint16_t>(matrix.row(row), matrix.num_columns, 0x7f80);
    case DType::kF16:
      return first_not_finite<uint16_t>(matrix.row(row), matrix.num_columns, 0x7c00);
    default:
      return first_not_finite<uint32_t>(matrix.row(row), matrix.num_columns, 0x7f800000);
  }
}

}  // namespace

Status check_finite(const Checkpoint& checkpoint) {
  return for_each_matrix(checkpoint.config(), [&](const MatrixId& id) {
    const MatrixSource matrix = checkpoint.matrix(id);
    for (int64_t row = 0; row < matrix.num_rows; ++row) {
      if (const std::optional<int64_t> column = first_not_finite(matrix, row)) {
        return invalid_input("{}: {} is NaN or infinite at row {}, column {}", checkpoint.path().string(),
                             matrix_label(id), row, *column);
      }
    }
    Checkpoint::drop_pages(matrix);
    return ok_status();
  });
}

}  // namespace octet
