// RowLayout: which of its tp group's token rows a rank keeps between attention blocks, and how all of them meet in
// attention. The layer's code calls gather and reduce; the layout decides what travels.
#pragma once

#include "kernels/backend.h"
#include "parallel/tree_reduce.h"

namespace octet {

class RowLayout {
 public:
  virtual ~RowLayout() = default;
  // All rows of the tp group, from this rank's rows: F32 [rows, hidden]. The result may be `mine` itself.
  virtual TensorView gather(TensorView mine, Stream& stream) = 0;
  // From every rank's partial product over all rows of the tp group, the sums of this rank's rows. The result may be
  // `partial` itself, which is used up.
  virtual TensorView reduce(TensorView partial, Stream& stream) = 0;
};

// Every rank of the tp group keeps all of its rows.
class ReplicatedRows final : public RowLayout {
 public:
  explicit ReplicatedRows(TreeReducer& tp_reducer) : tp_reducer_(tp_reducer) {}
  TensorView gather(TensorView mine, Stream&) override { return mine; }
  TensorView reduce(TensorView partial, Stream& stream) override {
    tp_reducer_.all_reduce(partial, stream);
    return partial;
  }

 private:
  TreeReducer& tp_reducer_;
};

}  // namespace octet
