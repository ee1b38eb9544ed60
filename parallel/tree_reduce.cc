#include "parallel/tree_reduce.h"

#include <algorithm>

#include "parallel/shard_plan.h"

namespace octet {

TreeReducer::TreeReducer(Backend& backend, DeviceComm& comm, int64_t max_elements)
    : backend_(backend),
      comm_(comm),
      received_(backend.allocate_tensor(DType::kF32, {comm.size() == 1 ? 0 : max_elements * comm.size()})),
      rows_of_(static_cast<size_t>(comm.size())),
      receive_rows_(static_cast<size_t>(comm.size())) {}

void TreeReducer::all_reduce(TensorView values, Stream& stream) {
  if (comm_.size() == 1) return;
  for (size_t i = 0; i < rows_of_.size(); ++i) {
    rows_of_[i] = near_equal_part(values.rows(), comm_.size(), static_cast<int64_t>(i)).size();
  }
  const TensorView sum = reduce_scatter(values, rows_of_, stream);
  comm_.all_gather_v(sum, rows_of_, values, stream);
}

TensorView TreeReducer::reduce_scatter(TensorView values, std::span<const int64_t> rows_of, Stream& stream) {
  const int64_t p = comm_.size();
  if (p == 1) return values;
  const int64_t mine = rows_of[static_cast<size_t>(comm_.rank())];
  std::fill(receive_rows_.begin(), receive_rows_.end(), mine);
  const TensorView contributions{received_.view.data, DType::kF32, {p * mine, values.row_elements()}};
  OCTET_CHECK(contributions.num_elements() <= received_.view.num_elements());
  comm_.all_to_all_v(values, rows_of, contributions, receive_rows_, stream);
  return sum_in_tree(contributions, 0, p, mine, stream);
}

// The sum of contributions [begin, end), left in the place of contribution `begin`.
TensorView TreeReducer::sum_in_tree(TensorView contributions, int64_t begin, int64_t end, int64_t rows,
                                    Stream& stream) {
  if (end - begin == 1) return contributions.slice_rows(begin * rows, rows);
  const int64_t middle = (begin + end) / 2;
  const TensorView left = sum_in_tree(contributions, begin, middle, rows, stream);
  backend_.add(left, sum_in_tree(contributions, middle, end, rows, stream), stream);
  return left;
}

std::unique_ptr<Reducer> make_reducer(Backend& backend, DeviceComm& comm, int64_t max_elements) {
  if (auto own = comm.make_reducer()) return own;
  return std::make_unique<TreeReducer>(backend, comm, max_elements);
}

}  // namespace octet
