// Reducer: sums over the ranks of a group, in fp32, on a stream.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/base/device.h"
#include "runtime/base/tensor.h"

namespace octet {

class Reducer {
 public:
  virtual ~Reducer() = default;
  // values (F32 [rows, width]) = the sum of every rank's values, on every rank.
  virtual void all_reduce(TensorView values, Stream& stream) = 0;
  // Rank i keeps rows_of[i] rows, in rank order: the sum of every rank's values for this rank's rows. `values` is used
  // up. Valid until the next call or as long as `values`, whichever is shorter; of a group of one, `values` itself.
  virtual TensorView reduce_scatter(TensorView values, std::span<const int64_t> rows_of, Stream& stream) = 0;
};

}  // namespace octet
