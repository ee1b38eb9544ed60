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

Status check_matrix(const Checkpoint& checkpoint, const MatrixSource& matrix, const std::string& label) {
  for (int64_t row = 0; row < matrix.num_rows; ++row) {
    if (const std::optional<int64_t> column = first_not_finite(matrix, row)) {
      return invalid_input("{}: {} is NaN or infinite at row {}, column {}", checkpoint.path().string(), label, row,
                           *column);
    }
  }
  Checkpoint::drop_pages(matrix);
  return ok_status();
}

Status check_layer(const Checkpoint& checkpoint, int64_t layer) {
  const auto check = [&](const MatrixSource& matrix, const std::string& label) {
    return check_matrix(checkpoint, matrix, fmt::format("layer {}, {}", layer, label));
  };
  const AttentionTensors attention = checkpoint.attention(layer);
  OCTET_RETURN_IF_ERROR(check(attention.norm, "attention norm"));
  OCTET_RETURN_IF_ERROR(check(attention.q, "attention q"));
  OCTET_RETURN_IF_ERROR(check(attention.k, "attention k"));
  OCTET_RETURN_IF_ERROR(check(attention.v, "attention v"));
  OCTET_RETURN_IF_ERROR(check(attention.o, "attention o"));
  const MoeTensors moe = checkpoint.moe(layer);
  OCTET_RETURN_IF_ERROR(check(moe.norm, "expert norm"));
  OCTET_RETURN_IF_ERROR(check(moe.gate, "gate"));
  for (size_t e = 0; e < moe.experts.size(); ++e) {
    OCTET_RETURN_IF_ERROR(check(moe.experts[e].w1, fmt::format("expert {} w1", e)));
    OCTET_RETURN_IF_ERROR(check(moe.experts[e].w3, fmt::format("expert {} w3", e)));
    OCTET_RETURN_IF_ERROR(check(moe.experts[e].w2, fmt::format("expert {} w2", e)));
  }
  return ok_status();
}

}  // namespace

Status check_finite(const Checkpoint& checkpoint) {
  OCTET_RETURN_IF_ERROR(check_matrix(checkpoint, checkpoint.embedding(), "embedding"));
  OCTET_RETURN_IF_ERROR(check_matrix(checkpoint, checkpoint.final_norm(), "final norm"));
  OCTET_RETURN_IF_ERROR(check_matrix(checkpoint, checkpoint.output(), "output matrix"));
  for (int64_t layer = 0; layer < checkpoint.config().num_layers; ++layer) {
    OCTET_RETURN_IF_ERROR(check_layer(checkpoint, layer));
  }
  return ok_status();
}

}  // namespace octet
