#include "parallel/dispatch_plan.h"

#include <algorithm>
#include <utility>

#include "parallel/shard_plan.h"
#include "runtime/base/check.h"

namespace octet {

DispatchPlan::DispatchPlan(DispatchShape shape)
    : shape_(std::move(shape)),
      send_rows_(static_cast<size_t>(shape_.num_ranks)),
      receive_rows_(static_cast<size_t>(shape_.num_ranks)),
      return_rows_(static_cast<size_t>(shape_.num_ranks)),
      arrive_rows_(static_cast<size_t>(shape_.num_ranks)) {}

// Replicas of an expert: the source rank's own place if it is one of them, else one for each source rank.
int DispatchPlan::place_of(int32_t expert, int source) const {
  const std::vector<int>& places = shape_.places_of[static_cast<size_t>(expert)];
  const int home = source / shape_.etp;
  if (std::binary_search(places.begin(), places.end(), home)) return home;
  return places[static_cast<size_t>(source) % places.size()];
}

void DispatchPlan::compute(std::span<const int32_t> ids, std::span<const float> weights,
                           std::span<const int64_t> rows_of, bool own_rows_stay) {
  OCTET_CHECK(!own_rows_stay || (shape_.etp == 1 && shape_.sums_travel()));
  own_rows_stay_ = own_rows_stay;
  list_received(ids, weights, rows_of);
  int64_t before = 0;
  for (int rank = 0; rank < shape_.rank; ++rank) before += rows_of[static_cast<size_t>(rank)];
  const auto mine = static_cast<size_t>(rows_of[static_cast<size_t>(shape_.rank)] * shape_.top_k);
  list_sent(ids.subspan(static_cast<size_t>(before * shape_.top_k), mine));
  list_returned();
  list_arrivals();
}

void DispatchPlan::list_received(std::span<const int32_t> ids, std::span<const float> weights,
                                 std::span<const int64_t> rows_of) {
  received_ids_.clear();
  received_weights_.clear();
  num_received_ = num_assignments_ = 0;
  size_t choice = 0;
  const auto top_k = static_cast<size_t>(shape_.top_k);
  for (int source = 0; source < shape_.num_ranks; ++source) {
    const int64_t before = num_received_;
    const int64_t num_rows = rows_of[static_cast<size_t>(source)];
    if (stays(source)) choice += static_cast<size_t>(num_rows) * top_k;
    for (int64_t row = 0; row < num_rows && !stays(source); ++row, choice += top_k) {
      int64_t num_here = 0;
      for (size_t j = choice; j < choice + top_k; ++j) {
        const bool here = place_of(ids[j], source) == shape_.place();
        num_here += here ? 1 : 0;
        received_ids_.push_back(here ? ids[j] : -1);
      }
      if (num_here == 0) {
        received_ids_.resize(received_ids_.size() - top_k);
        continue;
      }
      received_weights_.insert(received_weights_.end(), weights.begin() + static_cast<long>(choice),
                               weights.begin() + static_cast<long>(choice + top_k));
      num_assignments_ += num_here;
      ++num_received_;
    }
    receive_rows_[static_cast<size_t>(source)] = num_received_ - before;
  }
}

void DispatchPlan::list_sent(std::span<const int32_t> my_ids) {
  place_of_choice_.clear();
  for (const int32_t expert : my_ids) place_of_choice_.push_back(place_of(expert, shape_.rank));
  sent_row_.clear();
  const int64_t num_rows = std::ssize(my_ids) / shape_.top_k;
  for (int rank = 0; rank < shape_.num_ranks; ++rank) {
    const size_t before = sent_row_.size();
    for (int64_t row = 0; row < num_rows && !stays(rank); ++row) {
      const auto first = place_of_choice_.begin() + row * shape_.top_k;
      const auto last = first + shape_.top_k;
      if (std::find(first, last, rank / shape_.etp) != last) sent_row_.push_back(static_cast<int32_t>(row));
    }
    send_rows_[static_cast<size_t>(rank)] = static_cast<int64_t>(sent_row_.size() - before);
  }
}

void DispatchPlan::list_returned() {
  returned_.clear();
  int64_t first_row = 0;
  for (size_t source = 0; source < receive_rows_.size(); ++source) {
    const size_t before = returned_.size();
    const Range part = near_equal_part(receive_rows_[source], shape_.etp, shape_.rank % shape_.etp);
    for (int64_t row = first_row + part.begin; row < first_row + part.end; ++row) {
      if (shape_.sums_travel()) {
        returned_.push_back(static_cast<int32_t>(row));
        continue;
      }
      for (int64_t choice = row * shape_.top_k; choice < (row + 1) * shape_.top_k; ++choice) {
        if (received_ids_[static_cast<size_t>(choice)] >= 0) returned_.push_back(static_cast<int32_t>(choice));
      }
    }
    return_rows_[source] = static_cast<int64_t>(returned_.size() - before);
    first_row += receive_rows_[source];
  }
}

void DispatchPlan::list_arrivals() {
  arrival_of_choice_.assign(place_of_choice_.size(), -1);
  const int64_t num_own = own_rows_stay_ ? std::ssize(place_of_choice_) / shape_.top_k : 0;
  for (int64_t row = 0; row < num_own; ++row) {
    const auto first = place_of_choice_.begin() + row * shape_.top_k, last = first + shape_.top_k;
    const auto here = std::find(first, last, shape_.place());
    if (here != last)
      arrival_of_choice_[static_cast<size_t>(here - place_of_choice_.begin())] = static_cast<int32_t>(row);
  }
  auto next = static_cast<int32_t>(num_own);
  size_t sent_before = 0;
  for (int rank = 0; rank < shape_.num_ranks; ++rank) {
    const int32_t before = next;
    const int64_t num_sent = send_rows_[static_cast<size_t>(rank)];
    const Range part = near_equal_part(num_sent, shape_.etp, rank % shape_.etp);
    for (int64_t i = part.begin; i < part.end; ++i) {
      const int64_t row = sent_row_[sent_before + static_cast<size_t>(i)];
      for (int64_t j = 0; j < shape_.top_k; ++j) {
        const auto choice = static_cast<size_t>(row * shape_.top_k + j);
        if (place_of_choice_[choice] != rank / shape_.etp) continue;
        arrival_of_choice_[choice] = next++;
        if (shape_.sums_travel()) break;
      }
    }
    arrive_rows_[static_cast<size_t>(rank)] = next - before;
    sent_before += static_cast<size_t>(num_sent);
  }
  num_arrived_ = next - num_own;
}

}  // namespace octet
