// What Backend::rope_table is given as frequencies: F32 [width], for all rows, or [rows, width], each row its own;
// width is h = head_dim / 2, or h + 1, where the last element is the factor f of cosines and sines (else 1).
#pragma once

#include "runtime/base/check.h"
#include "runtime/base/tensor.h"

namespace octet {

struct RopeFrequencies {
  const float* values = nullptr;
  int64_t half = 0;
  int64_t width = 0;
  int64_t stride = 0;  // elements from a row's frequencies to the next row's; 0: all rows have the same

  // Reads nothing but the shapes.
  static RopeFrequencies of(TensorView frequency, TensorView table) {
    const int64_t half = table.row_elements() / 2;
    const bool shared = frequency.shape.rank() == 1;
    const int64_t width = shared ? frequency.num_elements() : frequency.row_elements();
    OCTET_CHECK((width == half || width == half + 1) && (shared || frequency.rows() >= table.rows()),
                "frequencies {} for a table {}", frequency.shape.to_string(), table.shape.to_string());
    return {frequency.as<float>(), half, width, shared ? 0 : width};
  }

  // REQUIRES: host memory.
  const float* of_row(int64_t row) const { return values + row * stride; }
  float factor(int64_t row) const { return width > half ? of_row(row)[half] : 1.0F; }
};

}  // namespace octet
