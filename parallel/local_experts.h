// LocalExperts: sorts the choices of rows by the experts that are here.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/backend.h"

namespace octet {

class LocalExperts {
 public:
  // local_of_expert: of each expert its index among the experts here, -1 where it is not here or left to another place.
  // At most max_rows rows with top_k choices each.
  LocalExperts(Backend& backend, int64_t top_k, const std::vector<int32_t>& local_of_expert, int64_t num_local,
               int64_t max_rows);

  int64_t max_assignments() const { return assignment_row_.view.rows(); }
  // Groups the choices ids I32 [rows, top_k]; valid until the next call. host_ids: the same in host memory, where the
  // host knows them; the groups then have host_offsets, too.
  ExpertGroups group(TensorView ids, Stream& stream, std::span<const int32_t> host_ids = {});
  // Assignments of a grouping, read back from the device.
  int64_t num_assignments(const ExpertGroups& groups, Stream& stream);

 private:
  // The offsets of a grouping, counted here.
  std::span<const int32_t> count(std::span<const int32_t> host_ids);

  Backend& backend_;
  std::vector<int32_t> local_of_expert_;
  std::vector<int32_t> host_offsets_;  // [local experts + 1]
  int64_t most_choices_;               // of one row, here
  Tensor local_expert_;                // I32 [num_experts]
  Tensor offsets_;                     // I32 [local experts + 1]
  Tensor assignment_row_;              // I32 [max_rows · most choices of a row here]
  Tensor slots_;                       // I32 [max_rows, top_k]
};

}  // namespace octet
