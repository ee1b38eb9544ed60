#include "parallel/expert_exchange_all_to_all.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "parallel/expert_placement.h"
#include "parallel/shard_plan.h"

namespace octet {
namespace {

std::vector<int32_t> local_indexes(const ExchangeShape& shape, int place) {
  std::vector<int32_t> local(static_cast<size_t>(shape.num_experts), -1);
  int32_t next = 0;
  for (const int32_t expert : shape.experts_of_place[static_cast<size_t>(place)])
    local[static_cast<size_t>(expert)] = next++;
  return local;
}

int64_t sum(const std::vector<int64_t>& counts) { return std::accumulate(counts.begin(), counts.end(), int64_t{0}); }

// With at most two experts a row their sum does not depend on where it is formed.
bool travel_as_sums(const ExchangeShape& shape) { return shape.top_k <= 2; }

TensorView as_rows(std::vector<int32_t>& values, int64_t width) {
  return {values.data(), DType::kI32, {std::ssize(values) / width, width}};
}

}  // namespace

// The last part of a near-equal division is its largest.
AllToAllExpertExchange::Capacity::Capacity(const ExchangeShape& shape, const Topology& topology, int64_t num_local)
    : mine(near_equal_part(shape.max_rows, topology.tp, topology.tp - 1).size()),
      sent(mine * std::min<int64_t>(shape.top_k, topology.ep) * topology.etp),
      received(mine * topology.ep * topology.etp),
      returned(travel_as_sums(shape) ? received : received * std::max<int64_t>(1, std::min(shape.top_k, num_local))),
      arrived(mine * (travel_as_sums(shape) ? std::min<int64_t>(shape.top_k, topology.ep) : shape.top_k)) {}

AllToAllExpertExchange::AllToAllExpertExchange(Backend& backend, ModelComms& comms, const Topology& topology,
                                               const ExchangeShape& shape)
    : backend_(backend),
      comms_(comms),
      etp_(topology.etp),
      etp_index_(topology.etp_index(comms.world.rank())),
      num_ranks_(comms.experts->size()),
      top_k_(shape.top_k),
      dtype_(shape.dtype),
      sums_travel_(travel_as_sums(shape)),
      places_of_(places_of_experts(shape.experts_of_place, shape.num_experts)),
      my_place_(topology.ep_index(comms.world.rank())),
      capacity_(shape, topology, std::ssize(shape.experts_of_place[static_cast<size_t>(my_place_)])),
      local_(backend, shape.top_k, local_indexes(shape, my_place_),
             std::ssize(shape.experts_of_place[static_cast<size_t>(my_place_)]), capacity_.received),
      place_reducer_(backend, *comms.place, local_.max_assignments() * shape.hidden),
      send_(backend.allocate_tensor(dtype_, {capacity_.sent, shape.hidden})),
      received_(backend.allocate_tensor(DType::kF32, {capacity_.received, shape.hidden})),
      returned_(backend.allocate_tensor(DType::kF32, {capacity_.returned, shape.hidden})),
      arrived_(backend.allocate_tensor(DType::kF32, {capacity_.arrived, shape.hidden})),
      outgoing_(backend, dtype_, std::max(capacity_.mine, capacity_.returned), shape.hidden),
      incoming_(backend, dtype_, std::max(capacity_.received, capacity_.arrived), shape.hidden),
      index_(backend.allocate_tensor(DType::kI32, {capacity_.sent, 1})),
      ids_(backend.allocate_tensor(DType::kI32, {capacity_.received, top_k_})),
      weights_(backend.allocate_tensor(DType::kF32, {capacity_.received, top_k_})),
      slots_(backend.allocate_tensor(DType::kI32, {std::max(capacity_.returned, capacity_.mine), top_k_})),
      order_(backend.allocate_tensor(DType::kI32, {std::max(capacity_.returned, capacity_.mine), top_k_})),
      ones_(backend.allocate_tensor(DType::kF32, {std::max(capacity_.returned, capacity_.mine), top_k_})),
      send_rows_(static_cast<size_t>(num_ranks_)),
      receive_rows_(static_cast<size_t>(num_ranks_)),
      return_rows_(static_cast<size_t>(num_ranks_)),
      arrive_rows_(static_cast<size_t>(num_ranks_)) {}

// Replicas of an expert: the rank's own place if it is one of them, else one for each source rank.
int AllToAllExpertExchange::place_of(int32_t expert) const {
  const std::vector<int>& places = places_of_[static_cast<size_t>(expert)];
  if (std::binary_search(places.begin(), places.end(), my_place_)) return my_place_;
  return places[static_cast<size_t>(comms_.experts->rank()) % places.size()];
}

// Fills send_row_ and metadata_, by destination rank; every rank of a place gets the same.
void AllToAllExpertExchange::list_sends(int64_t num_rows) {
  const int64_t num_choices = num_rows * top_k_;
  place_of_choice_.resize(static_cast<size_t>(num_choices));
  for (size_t c = 0; c < place_of_choice_.size(); ++c) place_of_choice_[c] = place_of(host_ids_[c]);
  send_row_.clear();
  metadata_.clear();
  for (int rank = 0; rank < num_ranks_; ++rank) {
    const int place = rank / etp_;
    const size_t before = send_row_.size();
    for (int64_t row = 0; row < num_rows; ++row) {
      const auto first = place_of_choice_.begin() + row * top_k_;
      if (std::find(first, first + top_k_, place) == first + top_k_) continue;
      send_row_.push_back(static_cast<int32_t>(row));
      for (int64_t j = 0; j < top_k_; ++j) {
        const auto choice = static_cast<size_t>(row * top_k_ + j);
        metadata_.push_back(place_of_choice_[choice] == place ? host_ids_[choice] : -1);
      }
      for (int64_t j = 0; j < top_k_; ++j) {
        metadata_.push_back(std::bit_cast<int32_t>(host_weights_[static_cast<size_t>(row * top_k_ + j)]));
      }
    }
    send_rows_[static_cast<size_t>(rank)] = static_cast<int64_t>(send_row_.size() - before);
  }
}

void AllToAllExpertExchange::exchange_counts(Stream& stream) {
  comms_.world.progress().set_phase(Phase::kDispatchCounts);
  const Counts ones(static_cast<size_t>(num_ranks_), 1);
  std::vector<int32_t> mine(send_rows_.begin(), send_rows_.end());
  std::vector<int32_t> theirs(mine.size());
  comms_.experts->all_to_all_v(as_rows(mine, 1), ones, as_rows(theirs, 1), ones, stream);
  std::copy(theirs.begin(), theirs.end(), receive_rows_.begin());
}

TensorView AllToAllExpertExchange::exchange_rows(TensorView rows, Stream& stream) {
  const int64_t num_sent = std::ssize(send_row_);
  const TensorView index{index_.view.data, DType::kI32, {num_sent}};
  backend_.upload(send_row_.data(), index, stream);
  const TensorView packed = send_.view.slice_rows(0, num_sent);
  backend_.gather_rows(outgoing_.pack(rows, stream), index, packed, stream);
  const TensorView received = received_.view.slice_rows(0, sum(receive_rows_));
  comms_.world.progress().set_phase(Phase::kDispatch);
  comms_.experts->all_to_all_v(packed, send_rows_, incoming_.landing(received), receive_rows_, stream);
  incoming_.unpack(received, stream);
  return received;
}

void AllToAllExpertExchange::exchange_metadata(Stream& stream) {
  comms_.world.progress().set_phase(Phase::kDispatchCounts);
  const int64_t num_received = sum(receive_rows_);
  received_metadata_.resize(static_cast<size_t>(num_received * 2 * top_k_));
  comms_.experts->all_to_all_v(as_rows(metadata_, 2 * top_k_), send_rows_, as_rows(received_metadata_, 2 * top_k_),
                               receive_rows_, stream);
}

Route AllToAllExpertExchange::dispatch(TensorView rows, TensorView ids, TensorView weights, Stream& stream) {
  host_ids_.resize(static_cast<size_t>(ids.num_elements()));
  host_weights_.resize(host_ids_.size());
  backend_.download(ids, host_ids_.data(), stream);
  backend_.download(weights, host_weights_.data(), stream);
  stream.synchronize();
  list_sends(rows.rows());
  exchange_counts(stream);
  exchange_metadata(stream);
  const TensorView received = exchange_rows(rows, stream);

  const TensorView received_ids = ids_.view.slice_rows(0, received.rows());
  const TensorView received_weights = weights_.view.slice_rows(0, received.rows());
  return_ids_.clear();
  return_weights_.clear();
  for (int64_t row = 0; row < received.rows(); ++row) {
    const auto entry = received_metadata_.begin() + row * 2 * top_k_;
    return_ids_.insert(return_ids_.end(), entry, entry + top_k_);
    for (int64_t j = top_k_; j < 2 * top_k_; ++j) return_weights_.push_back(std::bit_cast<float>(entry[j]));
  }
  backend_.upload(return_ids_.data(), received_ids, stream);
  backend_.upload(return_weights_.data(), received_weights, stream);
  return {received, received_ids, received_weights, local_.group(received_ids, stream)};
}

// What this rank brings home: of each source's rows its part of the place's ranks, a sum a row or a product a choice.
void AllToAllExpertExchange::list_returns(const ExpertGroups& groups, Stream& stream) {
  std::vector<int32_t> slots(static_cast<size_t>(groups.slots.num_elements()));
  backend_.download(groups.slots, slots.data(), stream);
  stream.synchronize();
  return_slots_.clear();
  return_ids_.clear();
  return_weights_.clear();
  const auto list = [&](int64_t row, int64_t first_choice, int64_t last_choice) {
    for (int64_t j = 0; j < top_k_; ++j) {
      const bool listed = j >= first_choice && j < last_choice;
      const int32_t* entry = received_metadata_.data() + row * 2 * top_k_;
      return_slots_.push_back(listed ? slots[static_cast<size_t>(row * top_k_ + j)] : -1);
      return_ids_.push_back(entry[j]);
      return_weights_.push_back(std::bit_cast<float>(entry[top_k_ + j]));
    }
  };
  int64_t first_row = 0;
  for (size_t source = 0; source < receive_rows_.size(); ++source) {
    const size_t before = return_slots_.size();
    const Range part = near_equal_part(receive_rows_[source], etp_, etp_index_);
    for (int64_t row = first_row + part.begin; row < first_row + part.end; ++row) {
      if (sums_travel_) list(row, 0, top_k_);
      for (int64_t j = 0; j < top_k_ && !sums_travel_; ++j) {
        if (received_metadata_[static_cast<size_t>(row * 2 * top_k_ + j)] >= 0) list(row, j, j + 1);
      }
    }
    return_rows_[source] = static_cast<int64_t>(return_slots_.size() - before) / top_k_;
    first_row += receive_rows_[source];
  }
}

TensorView AllToAllExpertExchange::weigh(const Route& route, TensorView y, Stream& stream) {
  list_returns(route.groups, stream);
  const int64_t count = sum(return_rows_);
  const TensorView slots = slots_.view.slice_rows(0, count);
  const TensorView ids = order_.view.slice_rows(0, count);
  const TensorView weights = ones_.view.slice_rows(0, count);
  backend_.upload(return_slots_.data(), slots, stream);
  backend_.upload(return_ids_.data(), ids, stream);
  backend_.upload(return_weights_.data(), weights, stream);
  const TensorView products = returned_.view.slice_rows(0, count);
  backend_.weighted_sum(y, {slots, ids, weights, dtype_}, products, stream);
  return outgoing_.pack(products, stream);
}

// Which arrival belongs to each choice of this rank's rows (-1: another choice's sum holds it), and how many come from
// where.
void AllToAllExpertExchange::list_arrivals(int64_t num_rows) {
  arrival_of_choice_.assign(static_cast<size_t>(num_rows * top_k_), -1);
  int32_t next = 0;
  size_t sent_before = 0;
  for (int rank = 0; rank < num_ranks_; ++rank) {
    const int32_t before = next;
    const int64_t num_sent = send_rows_[static_cast<size_t>(rank)];
    const Range part = near_equal_part(num_sent, etp_, rank % etp_);
    for (int64_t i = part.begin; i < part.end; ++i) {
      const int64_t row = send_row_[sent_before + static_cast<size_t>(i)];
      for (int64_t j = 0; j < top_k_; ++j) {
        const auto choice = static_cast<size_t>(row * top_k_ + j);
        if (place_of_choice_[choice] != rank / etp_) continue;
        arrival_of_choice_[choice] = next++;
        if (sums_travel_) break;
      }
    }
    arrive_rows_[static_cast<size_t>(rank)] = next - before;
    sent_before += static_cast<size_t>(num_sent);
  }
}

void AllToAllExpertExchange::combine(const Route& route, TensorView y, TensorView out, Stream& stream) {
  if (comms_.place->size() > 1) {
    comms_.world.progress().set_phase(Phase::kExpertReduce);
    place_reducer_.all_reduce(y.slice_rows(0, local_.num_assignments(route.groups, stream)), stream);
  }
  const TensorView products = weigh(route, y, stream);
  list_arrivals(out.rows());
  const TensorView arrived = arrived_.view.slice_rows(0, sum(arrive_rows_));
  comms_.world.progress().set_phase(Phase::kCombine);
  comms_.experts->all_to_all_v(products, return_rows_, incoming_.landing(arrived), arrive_rows_, stream);
  incoming_.unpack(arrived, stream);

  const TensorView slots = slots_.view.slice_rows(0, out.rows());
  const TensorView ids = order_.view.slice_rows(0, out.rows());
  const TensorView ones = ones_.view.slice_rows(0, out.rows());
  return_weights_.assign(static_cast<size_t>(out.rows() * top_k_), 1.0F);
  backend_.upload(arrival_of_choice_.data(), slots, stream);
  backend_.upload(host_ids_.data(), ids, stream);
  backend_.upload(return_weights_.data(), ones, stream);
  backend_.weighted_sum(arrived, {slots, ids, ones}, out, stream);
  if (dtype_ == DType::kBF16) backend_.round_to_bf16(out, stream);
}

}  // namespace octet
