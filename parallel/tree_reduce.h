// Sums over the ranks of a group in one fixed order, whatever the number of ranks: the midpoint tree
// sum[i,j) = sum[i,m) + sum[m,j), m = (i+j)/2, over the ranks' contributions. A rank's contribution is itself such a
// node of the finer tree of partials, so the result has the same bits on any number of ranks.
#pragma once

#include "comm/device_comm.h"
#include "kernels/backend.h"

namespace octet {

class TreeReducer {
 public:
  // `scratch_elements`: the largest tensor, in fp32 elements, that will be reduced.
  TreeReducer(Backend& backend, DeviceComm& comm, int64_t scratch_elements);

  // values (F32 [rows, width]) = the tree sum of every rank's values, on every rank.
  void all_reduce(TensorView values, Stream& stream);

 private:
  TensorView sum_in_tree(TensorView contributions, int64_t begin, int64_t end, int64_t rows, Stream& stream);

  Backend& backend_;
  DeviceComm& comm_;
  Tensor received_;
};

}  // namespace octet
