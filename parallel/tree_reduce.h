// Sums over the ranks of a group in one fixed order, whatever the number of ranks: the midpoint tree
// sum[i,j) = sum[i,m) + sum[m,j), m = (i+j)/2, over the ranks' contributions. A rank's contribution is itself such a
// node of the finer tree of partials, so the result has the same bits on any number of ranks.
#pragma once

#include <span>
#include <vector>

#include "comm/device_comm.h"
#include "kernels/backend.h"

namespace octet {

class TreeReducer {
 public:
  // max_elements: of the largest tensor, in fp32 elements, that will be reduced.
  TreeReducer(Backend& backend, DeviceComm& comm, int64_t max_elements);

  // values (F32 [rows, width]) = the tree sum of every rank's values, on every rank.
  void all_reduce(TensorView values, Stream& stream);
  // Rank i keeps rows_of[i] rows, in rank order: the tree sum of every rank's values for this rank's rows. Valid until
  // the next call; of a group of one, `values` itself.
  TensorView reduce_scatter(TensorView values, std::span<const int64_t> rows_of, Stream& stream);

 private:
  TensorView sum_in_tree(TensorView contributions, int64_t begin, int64_t end, int64_t rows, Stream& stream);

  Backend& backend_;
  DeviceComm& comm_;
  Tensor received_;
  std::vector<int64_t> rows_of_;       // of an all_reduce, scratch
  std::vector<int64_t> receive_rows_;  // scratch
};

}  // namespace octet
