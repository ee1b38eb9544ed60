// RowParts: where each rank's rows lie in a tensor that holds the rows of all of them, one rank behind the other.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/base/tensor.h"

namespace octet {

class RowParts {
 public:
  // The tensor has Σ rows rows, rows[i] of them for rank i.
  RowParts(TensorView tensor, std::span<const int64_t> rows);

  std::byte* data(int rank) const;
  int64_t num_bytes(int rank) const { return rows_[static_cast<size_t>(rank)] * row_bytes_; }
  // Of all ranks but `self`: the bytes, and how many ranks have any.
  int64_t num_bytes_of_others(int self) const;
  int num_others(int self) const;

 private:
  std::byte* data_;
  std::span<const int64_t> rows_;
  int64_t row_bytes_;
};

// memcpy, except that nothing moves where `to` is `from` already.
void copy_part(std::byte* to, const std::byte* from, int64_t num_bytes);

}  // namespace octet
