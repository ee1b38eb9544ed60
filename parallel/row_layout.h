// RowLayout: how the rows that the ranks of a tp group keep between attention blocks meet in attention. The layer's
// code calls gather and reduce; the layout decides what travels, by the step's StepRows. It keeps nothing from call to
// call but memory.
#pragma once

#include "comm/device_comm.h"
#include "comm/reducer.h"
#include "kernels/backend.h"
#include "parallel/step_rows.h"

namespace octet {

class RowLayout {
 public:
  virtual ~RowLayout() = default;
  // All rows of the tp group, from this rank's rows: F32 [rows.num_rows, hidden]. Valid until the next call; may be
  // `mine` itself.
  virtual TensorView gather(const StepRows& rows, TensorView mine, Stream& stream) const = 0;
  // From every rank's partial product over all rows of the tp group, the sums of this rank's rows. The result may be
  // `partial` itself, which is used up; valid until the next call.
  virtual TensorView reduce(const StepRows& rows, TensorView partial, Stream& stream) const = 0;
};

// RowLayoutKind::kReplicated
class ReplicatedRows final : public RowLayout {
 public:
  explicit ReplicatedRows(Reducer& tp_reducer) : tp_reducer_(tp_reducer) {}
  TensorView gather(const StepRows&, TensorView mine, Stream&) const override { return mine; }
  TensorView reduce(const StepRows& rows, TensorView partial, Stream& stream) const override;

 private:
  Reducer& tp_reducer_;
};

// RowLayoutKind::kSliced
class SlicedRows final : public RowLayout {
 public:
  // max_rows of the tp group, each of `width` elements.
  SlicedRows(Backend& backend, DeviceComm& tp, Reducer& tp_reducer, int64_t max_rows, int64_t width);
  TensorView gather(const StepRows& rows, TensorView mine, Stream& stream) const override;
  TensorView reduce(const StepRows& rows, TensorView partial, Stream& stream) const override;

 private:
  DeviceComm& tp_;
  Reducer& tp_reducer_;
  Tensor gathered_;  // [max_rows, width]
};

}  // namespace octet
