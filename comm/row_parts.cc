#include "comm/row_parts.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace octet {

RowParts::RowParts(TensorView tensor, std::span<const int64_t> rows)
    : data_(static_cast<std::byte*>(tensor.data)),
      rows_(rows),
      row_bytes_(tensor.row_elements() * dtype_size(tensor.dtype)) {
  const int64_t num_rows = std::accumulate(rows.begin(), rows.end(), int64_t{0});
  OCTET_CHECK(num_rows == tensor.rows(), "{} rows for a tensor of {}", num_rows, tensor.shape.to_string());
}

std::byte* RowParts::data(int rank) const {
  return data_ + std::accumulate(rows_.begin(), rows_.begin() + rank, int64_t{0}) * row_bytes_;
}

int64_t RowParts::num_bytes_of_others(int self) const {
  return (std::accumulate(rows_.begin(), rows_.end(), int64_t{0}) - rows_[static_cast<size_t>(self)]) * row_bytes_;
}

int RowParts::num_others(int self) const {
  const auto num_senders = std::ranges::count_if(rows_, [](int64_t rows) { return rows > 0; });
  return static_cast<int>(num_senders) - (rows_[static_cast<size_t>(self)] > 0 ? 1 : 0);
}

void copy_part(std::byte* to, const std::byte* from, int64_t num_bytes) {
  if (to != from && num_bytes > 0) std::memcpy(to, from, static_cast<size_t>(num_bytes));
}

}  // namespace octet
