#include "parallel/tree_reduce.h"

#include <vector>

#include "parallel/shard_plan.h"

namespace octet {

TreeReducer::TreeReducer(Backend& backend, DeviceComm& comm, int64_t scratch_elements)
    : backend_(backend),
      comm_(comm),
      received_(backend.allocate_tensor(DType::kF32, {comm.size() == 1 ? 0 : scratch_elements})) {}

// Every rank sums one near-equal slice of the rows, and the slices are gathered.
void TreeReducer::all_reduce(TensorView values, Stream& stream) {
  const int64_t p = comm_.size();
  if (p == 1) return;
  std::vector<int64_t> slice_rows;
  for (int64_t i = 0; i < p; ++i) slice_rows.push_back(near_equal_part(values.rows(), p, i).size());
  const int64_t mine = slice_rows[static_cast<size_t>(comm_.rank())];
  const std::vector<int64_t> receive_rows(static_cast<size_t>(p), mine);
  const TensorView contributions{received_.view.data, DType::kF32, {p * mine, values.row_elements()}};
  OCTET_CHECK(contributions.num_elements() <= received_.view.num_elements());
  comm_.all_to_all_v(values, slice_rows, contributions, receive_rows, stream);
  const TensorView sum = sum_in_tree(contributions, 0, p, mine, stream);
  comm_.all_gather_v(sum, slice_rows, values, stream);
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

}  // namespace octet
