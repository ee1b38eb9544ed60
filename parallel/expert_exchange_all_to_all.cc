#include "parallel/expert_exchange_all_to_all.h"

#include <algorithm>

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

DispatchShape dispatch_shape(const ModelComms& comms, const Topology& topology, const ExchangeShape& shape) {
  return {comms.experts->size(), topology.etp, comms.experts->rank(), shape.top_k,
          places_of_experts(shape.experts_of_place, shape.num_experts)};
}

// `width` entries a row, of the same elements.
TensorView with_width(TensorView tensor, int64_t width) {
  return {tensor.data, tensor.dtype, {tensor.num_elements() / width, width}};
}

// Whether what is computed here of a rank's own rows is a sum that is complete.
bool can_keep(const ExchangeShape& shape, const Topology& topology) {
  return shape.least_kept_rows > 0 && shape.top_k <= 2 && topology.ep > 1 && topology.etp == 1;
}

// Of all its own rows.
int64_t least_kept_rows(const ExchangeShape& shape) {
  return (shape.least_kept_rows * shape.num_experts + shape.top_k - 1) / shape.top_k;
}

}  // namespace

// The last part of a near-equal division is its largest.
AllToAllExpertExchange::Capacity::Capacity(const ExchangeShape& shape, const Topology& topology, int64_t num_local)
    : mine(near_equal_part(shape.max_rows, topology.tp, topology.tp - 1).size()),
      kept(can_keep(shape, topology) && mine >= least_kept_rows(shape) ? mine : 0),
      sent(mine * std::min<int64_t>(shape.top_k, topology.ep) * topology.etp),
      received(mine * topology.ep * topology.etp),
      returned(shape.top_k <= 2 ? received : received * std::max<int64_t>(1, std::min(shape.top_k, num_local))),
      arrived(kept + mine * (shape.top_k <= 2 ? std::min<int64_t>(shape.top_k, topology.ep) : shape.top_k)) {}

AllToAllExpertExchange::AllToAllExpertExchange(Backend& backend, ModelComms& comms, const Topology& topology,
                                               const ExchangeShape& shape)
    : backend_(backend),
      comms_(comms),
      top_k_(shape.top_k),
      dtype_(shape.dtype),
      plan_(dispatch_shape(comms, topology, shape)),
      capacity_(shape, topology, std::ssize(shape.experts_of_place[static_cast<size_t>(plan_.shape().place())])),
      local_(backend, shape.top_k, local_indexes(shape, plan_.shape().place()),
             std::ssize(shape.experts_of_place[static_cast<size_t>(plan_.shape().place())]), capacity_.received),
      kept_experts_(backend, shape.top_k, local_indexes(shape, plan_.shape().place()),
                    std::ssize(shape.experts_of_place[static_cast<size_t>(plan_.shape().place())]), capacity_.kept),
      place_reducer_(make_reducer(backend, *comms.place, local_.max_assignments() * shape.hidden)),
      rows_stream_(backend.make_stream()),
      least_kept_rows_(least_kept_rows(shape)),
      all_ids_(backend.allocate_tensor(DType::kI32, {capacity_.received, top_k_})),
      all_weights_(backend.allocate_tensor(DType::kF32, {capacity_.received, top_k_})),
      send_(backend.allocate_tensor(dtype_, {capacity_.sent, shape.hidden})),
      received_(backend.allocate_tensor(DType::kF32, {capacity_.received, shape.hidden})),
      returned_(backend.allocate_tensor(DType::kF32, {capacity_.returned, shape.hidden})),
      arrived_(backend.allocate_tensor(DType::kF32, {capacity_.arrived, shape.hidden})),
      outgoing_(backend, dtype_, std::max(capacity_.mine, capacity_.returned), shape.hidden),
      incoming_(backend, dtype_, std::max(capacity_.received, capacity_.arrived), shape.hidden),
      index_(backend.allocate_tensor(DType::kI32, {std::max(capacity_.sent, capacity_.returned)})),
      ids_(backend.allocate_tensor(DType::kI32, {capacity_.received, top_k_})),
      weights_(backend.allocate_tensor(DType::kF32, {capacity_.received, top_k_})),
      returned_slots_(backend.allocate_tensor(DType::kI32, {capacity_.received * top_k_})),
      returned_ids_(backend.allocate_tensor(DType::kI32, {capacity_.received * top_k_})),
      returned_weights_(backend.allocate_tensor(DType::kF32, {capacity_.received * top_k_})),
      arrival_slots_(backend.allocate_tensor(DType::kI32, {capacity_.mine, top_k_})),
      ones_(backend.allocate_tensor(DType::kF32, {capacity_.mine, top_k_})),
      host_ids_(backend.allocate_host_tensor(DType::kI32, {capacity_.received, top_k_})),
      host_weights_(backend.allocate_host_tensor(DType::kF32, {capacity_.received, top_k_})) {
  const std::vector<float> ones(static_cast<size_t>(ones_.view.num_elements()), 1.0F);
  backend.upload_and_wait(ones.data(), ones_.view);
}

// The choices of all rows of the expert group set out for the host.
void AllToAllExpertExchange::gather_choices(const StepRows& rows, const RoutedRows& mine, Stream& stream) {
  const TensorView all_ids = all_ids_.view.slice_rows(0, rows.num_met);
  const TensorView all_weights = all_weights_.view.slice_rows(0, rows.num_met);
  comms_.world.progress().set_phase(Phase::kDispatchCounts);
  comms_.experts->all_gather_v(mine.ids, rows.rows_of_experts, all_ids, stream);
  comms_.experts->all_gather_v(mine.weights, rows.rows_of_experts, all_weights, stream);
  backend_.download(all_ids, host_ids_.view.data, stream);
  backend_.download(all_weights, host_weights_.view.data, stream);
}

// The layer's one wait of the host, for the choices.
void AllToAllExpertExchange::plan_rows(const StepRows& rows, Stream& stream) {
  comms_.world.wait(stream);
  const auto num_choices = static_cast<size_t>(rows.num_met * top_k_);
  plan_.compute({host_ids_.view.as<int32_t>(), num_choices}, {host_weights_.view.as<float>(), num_choices},
                rows.rows_of_experts, kept_.has_value());
}

TensorView AllToAllExpertExchange::upload_index(const std::vector<int32_t>& index, Stream& stream) {
  const TensorView uploaded = index_.view.slice_rows(0, std::ssize(index));
  backend_.upload(index.data(), uploaded, stream);
  return uploaded;
}

TensorView AllToAllExpertExchange::exchange_rows(TensorView rows, Stream& stream) {
  const TensorView packed = send_.view.slice_rows(0, std::ssize(plan_.sent_row()));
  backend_.gather_rows(outgoing_.pack(rows, stream), upload_index(plan_.sent_row(), stream), packed, stream);
  const TensorView received = received_.view.slice_rows(0, plan_.num_received());
  comms_.world.progress().set_phase(Phase::kDispatch);
  comms_.experts->all_to_all_v(packed, plan_.send_rows(), incoming_.landing(received), plan_.receive_rows(), stream);
  incoming_.unpack(received, stream);
  return received;
}

std::optional<Route> AllToAllExpertExchange::keep(const StepRows& rows, const RoutedRows& mine, Stream& stream) {
  kept_.reset();
  if (capacity_.kept == 0 || mine.rows.rows() < least_kept_rows_) return kept_;
  if (dtype_ == DType::kBF16) backend_.round_to_bf16(mine.rows, stream);
  rows_stream_->wait_for(stream);
  gather_choices(rows, mine, *rows_stream_);
  kept_ = Route{mine.rows, mine.ids, mine.weights, kept_experts_.group(mine.ids, stream)};
  return kept_;
}

Route AllToAllExpertExchange::dispatch(const StepRows& rows, const RoutedRows& mine, Stream& stream) {
  Stream& travels_on = kept_ ? *rows_stream_ : stream;
  if (!kept_) gather_choices(rows, mine, stream);
  plan_rows(rows, travels_on);
  const TensorView received = exchange_rows(mine.rows, travels_on);
  const TensorView received_ids = ids_.view.slice_rows(0, received.rows());
  const TensorView received_weights = weights_.view.slice_rows(0, received.rows());
  backend_.upload(plan_.received_ids().data(), received_ids, travels_on);
  backend_.upload(plan_.received_weights().data(), received_weights, travels_on);
  const Route route{received, received_ids, received_weights,
                    local_.group(received_ids, travels_on, plan_.received_ids())};
  if (kept_) stream.wait_for(*rows_stream_);
  return route;
}

// What of the received this rank brings home: a sum a row or a product a choice.
WeightedChoices AllToAllExpertExchange::returned_choices(const Route& route, Stream& stream) {
  const DispatchShape& shape = plan_.shape();
  if (shape.sums_travel() && shape.etp == 1) return {route.groups.slots, route.ids, route.weights, dtype_};
  const int64_t width = shape.sums_travel() ? top_k_ : 1;
  const int64_t count = std::ssize(plan_.returned());
  const TensorView index = upload_index(plan_.returned(), stream);
  const auto pick = [&](TensorView from, const Tensor& memory) {
    const TensorView picked{memory.view.data, from.dtype, {count, width}};
    backend_.gather_rows(with_width(from, width), index, picked, stream);
    return picked;
  };
  return {pick(route.groups.slots, returned_slots_), pick(route.ids, returned_ids_),
          pick(route.weights, returned_weights_), dtype_};
}

// Of each of this rank's rows what was kept of it.
void AllToAllExpertExchange::sum_kept(TensorView y, Stream& stream) {
  const TensorView sums = arrived_.view.slice_rows(0, kept_->rows.rows());
  backend_.weighted_sum(y, {kept_->groups.slots, kept_->ids, kept_->weights, dtype_}, sums, stream);
  if (dtype_ == DType::kBF16) backend_.round_to_bf16(sums, stream);
}

void AllToAllExpertExchange::combine(const StepRows& rows, const Route& route, TensorView y, TensorView out,
                                     Stream& stream) {
  const int64_t num_kept = kept_ ? kept_->rows.rows() : 0;
  if (kept_) {
    const int64_t num_assignments = kept_->groups.assignment_row.num_elements();
    sum_kept(y.slice_rows(0, num_assignments), stream);
    y = y.slice_rows(num_assignments, y.rows() - num_assignments);
  }
  if (comms_.place->size() > 1) {
    comms_.world.progress().set_phase(Phase::kExpertReduce);
    place_reducer_->all_reduce(y.slice_rows(0, plan_.num_assignments()), stream);
  }
  const TensorView products = returned_.view.slice_rows(0, std::ssize(plan_.returned()));
  backend_.weighted_sum(y, returned_choices(route, stream), products, stream);
  const TensorView arrived = arrived_.view.slice_rows(num_kept, plan_.num_arrived());
  comms_.world.progress().set_phase(Phase::kCombine);
  comms_.experts->all_to_all_v(outgoing_.pack(products, stream), plan_.return_rows(), incoming_.landing(arrived),
                               plan_.arrive_rows(), stream);
  incoming_.unpack(arrived, stream);

  const TensorView slots = arrival_slots_.view.slice_rows(0, out.rows());
  backend_.upload(plan_.arrival_of_choice().data(), slots, stream);
  const TensorView ids = all_ids_.view.slice_rows(rows.home.begin, out.rows());
  const TensorView sums = arrived_.view.slice_rows(0, num_kept + plan_.num_arrived());
  backend_.weighted_sum(sums, {slots, ids, ones_.view.slice_rows(0, out.rows())}, out, stream);
  if (dtype_ == DType::kBF16) backend_.round_to_bf16(out, stream);
  kept_.reset();
}

}  // namespace octet
