#include "parallel/row_layout.h"

#include <algorithm>
#include <numeric>

namespace octet {

std::string_view row_layout_name(RowLayoutKind kind) {
  return kind == RowLayoutKind::kSliced ? "all-to-all" : "replicated";
}

TensorView ReplicatedRows::reduce(TensorView partial, Stream& stream) {
  tp_reducer_.all_reduce(partial, stream);
  return partial;
}

void ReplicatedRows::count(int64_t num_rows, std::span<int64_t> rows_of) const { std::ranges::fill(rows_of, num_rows); }

void ReplicatedRows::count_selected(std::span<const int32_t> rows, std::span<int64_t> rows_of) const {
  std::ranges::fill(rows_of, std::ssize(rows));
}

SlicedRows::SlicedRows(Backend& backend, DeviceComm& tp, Reducer& tp_reducer, int64_t max_rows, int64_t width)
    : tp_(tp),
      tp_reducer_(tp_reducer),
      gathered_(backend.allocate_tensor(DType::kF32, {tp.size() == 1 ? 0 : max_rows, width})),
      rows_of_(static_cast<size_t>(tp.size())) {}

Range SlicedRows::mine() const {
  const auto me = rows_of_.begin() + tp_.rank();
  const int64_t begin = std::accumulate(rows_of_.begin(), me, int64_t{0});
  return {begin, begin + *me};
}

Range SlicedRows::begin(int64_t num_rows) {
  count(num_rows, rows_of_);
  return mine();
}

Range SlicedRows::select(std::span<const int32_t> rows) {
  count_selected(rows, rows_of_);
  return mine();
}

void SlicedRows::count(int64_t num_rows, std::span<int64_t> rows_of) const {
  for (size_t i = 0; i < rows_of.size(); ++i) {
    rows_of[i] = near_equal_part(num_rows, std::ssize(rows_of), static_cast<int64_t>(i)).size();
  }
}

void SlicedRows::count_selected(std::span<const int32_t> rows, std::span<int64_t> rows_of) const {
  auto first = rows.begin();
  int64_t slice_end = 0;
  for (int64_t& count : rows_of) {
    slice_end += count;
    const auto last = std::lower_bound(first, rows.end(), slice_end);
    count = last - first;
    first = last;
  }
}

TensorView SlicedRows::gather(TensorView mine, Stream& stream) {
  if (tp_.size() == 1) return mine;
  const TensorView all = gathered_.view.slice_rows(0, std::accumulate(rows_of_.begin(), rows_of_.end(), int64_t{0}));
  tp_.all_gather_v(mine, rows_of_, all, stream);
  return all;
}

TensorView SlicedRows::reduce(TensorView partial, Stream& stream) {
  return tp_reducer_.reduce_scatter(partial, rows_of_, stream);
}

}  // namespace octet
