// WireRows: rows of activations as they travel between ranks, in the exchange's precision.
#pragma once

#include "kernels/backend.h"

namespace octet {

class WireRows {
 public:
  // dtype F32 (rows travel as they are, and nothing is allocated) or BF16. max_rows of `width` elements.
  WireRows(Backend& backend, DType dtype, int64_t max_rows, int64_t width)
      : backend_(backend),
        rounds_(dtype == DType::kBF16),
        memory_(backend.allocate_tensor(dtype, {rounds_ ? max_rows : 0, width})) {}

  // `rows` (F32) for sending: themselves, or rounded. Valid until the next pack or landing.
  TensorView pack(TensorView rows, Stream& stream) {
    const TensorView wire = landing(rows);
    if (rounds_) backend_.convert(rows, wire, stream);
    return wire;
  }
  // Where what will become `rows` (F32) is received: `rows` themselves, or memory that unpack() reads.
  TensorView landing(TensorView rows) const { return rounds_ ? memory_.view.slice_rows(0, rows.rows()) : rows; }
  void unpack(TensorView rows, Stream& stream) {
    if (rounds_) backend_.convert(landing(rows), rows, stream);
  }

 private:
  Backend& backend_;
  bool rounds_;
  Tensor memory_;
};

}  // namespace octet
