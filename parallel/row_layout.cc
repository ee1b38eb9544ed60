#include "parallel/row_layout.h"

namespace octet {

TensorView ReplicatedRows::reduce(const StepRows&, TensorView partial, Stream& stream) const {
  tp_reducer_.all_reduce(partial, stream);
  return partial;
}

SlicedRows::SlicedRows(Backend& backend, DeviceComm& tp, Reducer& tp_reducer, int64_t max_rows, int64_t width)
    : tp_(tp),
      tp_reducer_(tp_reducer),
      gathered_(backend.allocate_tensor(DType::kF32, {tp.size() == 1 ? 0 : max_rows, width})) {}

TensorView SlicedRows::gather(const StepRows& rows, TensorView mine, Stream& stream) const {
  if (tp_.size() == 1) return mine;
  const TensorView all = gathered_.view.slice_rows(0, rows.num_rows);
  tp_.all_gather_v(mine, rows.rows_of_tp, all, stream);
  return all;
}

TensorView SlicedRows::reduce(const StepRows& rows, TensorView partial, Stream& stream) const {
  return tp_reducer_.reduce_scatter(partial, rows.rows_of_tp, stream);
}

}  // namespace octet
