// Sums over the ranks of a group in one fixed order, whatever the number of ranks: the midpoint tree
// sum[i,j) = sum[i,m) + sum[m,j), m = (i+j)/2, over the ranks' contributions. A rank's contribution is itself such a
// node of the finer tree of partials, so the result has the same bits on any number of ranks.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "comm/device_comm.h"
#include "comm/reducer.h"
#include "kernels/backend.h"

namespace octet {

class TreeReducer final : public Reducer {
 public:
  // max_elements: of the largest tensor, in fp32 elements, that will be reduced.
  TreeReducer(Backend& backend, DeviceComm& comm, int64_t max_elements);

  void all_reduce(TensorView values, Stream& stream) override;
  TensorView reduce_scatter(TensorView values, std::span<const int64_t> rows_of, Stream& stream) override;

 private:
  TensorView sum_in_tree(TensorView contributions, int64_t begin, int64_t end, int64_t rows, Stream& stream);

  Backend& backend_;
  DeviceComm& comm_;
  Tensor received_;
  std::vector<int64_t> rows_of_;       // of an all_reduce, scratch
  std::vector<int64_t> receive_rows_;  // scratch
};

// The one place where a reducer is chosen: the transport's own, or where it has none the tree. max_elements as the
// tree's.
std::unique_ptr<Reducer> make_reducer(Backend& backend, DeviceComm& comm, int64_t max_elements);

}  // namespace octet
