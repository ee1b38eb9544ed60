#include "parallel/local_experts.h"

#include <algorithm>
#include <numeric>

namespace octet {

LocalExperts::LocalExperts(Backend& backend, int64_t top_k, const std::vector<int32_t>& local_of_expert,
                           int64_t num_local, int64_t max_rows)
    : backend_(backend),
      local_of_expert_(local_of_expert),
      host_offsets_(static_cast<size_t>(num_local) + 1),
      most_choices_(std::min(top_k, num_local)),
      local_expert_(backend.allocate_tensor(DType::kI32, {std::ssize(local_of_expert)})),
      offsets_(backend.allocate_tensor(DType::kI32, {num_local + 1})),
      assignment_row_(backend.allocate_tensor(DType::kI32, {max_rows * most_choices_})),
      slots_(backend.allocate_tensor(DType::kI32, {max_rows, top_k})) {
  backend.upload_and_wait(local_of_expert.data(), local_expert_.view);
}

ExpertGroups LocalExperts::group(TensorView ids, Stream& stream, std::span<const int32_t> host_ids) {
  ExpertGroups groups{offsets_.view, assignment_row_.view.slice_rows(0, ids.rows() * most_choices_),
                      slots_.view.slice_rows(0, ids.rows())};
  backend_.group_by_expert(ids, local_expert_.view, groups, stream);
  if (host_ids.data() != nullptr) groups.host_offsets = count(host_ids);
  return groups;
}

std::span<const int32_t> LocalExperts::count(std::span<const int32_t> host_ids) {
  std::ranges::fill(host_offsets_, 0);
  for (const int32_t id : host_ids) {
    const int32_t local = id < 0 ? -1 : local_of_expert_[static_cast<size_t>(id)];
    if (local >= 0) ++host_offsets_[static_cast<size_t>(local) + 1];
  }
  std::partial_sum(host_offsets_.begin(), host_offsets_.end(), host_offsets_.begin());
  return host_offsets_;
}

int64_t LocalExperts::num_assignments(const ExpertGroups& groups, Stream& stream) {
  int32_t count = 0;
  backend_.download(groups.offsets.slice_rows(groups.offsets.rows() - 1, 1), &count, stream);
  stream.synchronize();
  return count;
}

}  // namespace octet
