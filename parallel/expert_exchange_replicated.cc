#include "parallel/expert_exchange_replicated.h"

#include "parallel/expert_placement.h"

namespace octet {
namespace {

// dp groups with ranks in a rank's expert group, whose ranks are consecutive.
int64_t groups_here(const Topology& topology, int rank) {
  const std::vector<int> ranks = make_rank_groups(topology, rank).experts;
  return topology.dp_index(ranks.back()) - topology.dp_index(ranks.front()) + 1;
}

// An expert that stands in several places is computed by the first of them: all see the same rows.
std::vector<int32_t> local_indexes(const ExchangeShape& shape, int place) {
  const auto places = places_of_experts(shape.experts_of_place, shape.num_experts);
  std::vector<int32_t> local(static_cast<size_t>(shape.num_experts), -1);
  int32_t index = 0;
  for (const int32_t expert : shape.experts_of_place[static_cast<size_t>(place)]) {
    if (places[static_cast<size_t>(expert)].front() == place) local[static_cast<size_t>(expert)] = index;
    ++index;
  }
  return local;
}

}  // namespace

ReplicatedExpertExchange::ReplicatedExpertExchange(Backend& backend, ModelComms& comms, const Topology& topology,
                                                   const ExchangeShape& shape)
    : backend_(backend),
      comms_(comms),
      dtype_(shape.dtype),
      num_groups_(groups_here(topology, comms.world.rank())),
      local_(backend, shape.top_k, local_indexes(shape, topology.ep_index(comms.world.rank())),
             std::ssize(shape.experts_of_place[static_cast<size_t>(topology.ep_index(comms.world.rank()))]),
             shape.max_rows * num_groups_),
      place_reducer_(make_reducer(backend, *comms.place, local_.max_assignments() * shape.hidden)),
      peer_reducer_(make_reducer(backend, *comms.peers, shape.max_rows * num_groups_ * shape.hidden)),
      rows_stream_(backend.make_stream()),
      sent_(backend, shape.dtype, one_group() ? 0 : shape.max_rows, shape.hidden),
      received_(backend, shape.dtype, one_group() ? 0 : shape.max_rows * num_groups_, shape.hidden) {
  const int64_t max_rows = one_group() ? 0 : shape.max_rows * num_groups_;
  rows_ = backend.allocate_tensor(DType::kF32, {max_rows, shape.hidden});
  sums_ = backend.allocate_tensor(DType::kF32, {max_rows, shape.hidden});
  ids_ = backend.allocate_tensor(DType::kI32, {max_rows, shape.top_k});
  weights_ = backend.allocate_tensor(DType::kF32, {max_rows, shape.top_k});
}

// This rank's part of its rows goes to all, and all parts come here.
void ReplicatedExpertExchange::announce(const StepRows& rows, TensorView mine, Stream& stream) {
  if (one_group()) return;
  rows_stream_->wait_for(stream);
  const TensorView share = sent_.pack(mine.slice_rows(rows.brought.begin, rows.brought.size()), *rows_stream_);
  const TensorView all = rows_.view.slice_rows(0, rows.num_met);
  comms_.world.progress().set_phase(Phase::kDispatch);
  comms_.experts->all_gather_v(share, rows.rows_of_experts, received_.landing(all), *rows_stream_);
  received_.unpack(all, *rows_stream_);
}

Route ReplicatedExpertExchange::dispatch(const StepRows& rows, const RoutedRows& mine, Stream& stream) {
  if (one_group()) {
    if (dtype_ == DType::kBF16) backend_.round_to_bf16(mine.rows, stream);
    return {mine.rows, mine.ids, mine.weights, local_.group(mine.ids, stream)};
  }
  // Here, and not behind the two gathers that follow: a communicator's calls have one order on all ranks.
  stream.wait_for(*rows_stream_);
  const auto gather = [&](TensorView of_mine, const Tensor& all) {
    const TensorView whole = all.view.slice_rows(0, rows.num_met);
    const TensorView share = of_mine.slice_rows(rows.brought.begin, rows.brought.size());
    comms_.experts->all_gather_v(share, rows.rows_of_experts, whole, stream);
    return whole;
  };
  comms_.world.progress().set_phase(Phase::kDispatchCounts);
  const TensorView all_ids = gather(mine.ids, ids_);
  const TensorView all_weights = gather(mine.weights, weights_);
  return {rows_.view.slice_rows(0, rows.num_met), all_ids, all_weights, local_.group(all_ids, stream)};
}

void ReplicatedExpertExchange::combine(const StepRows& rows, const Route& route, TensorView y, TensorView out,
                                       Stream& stream) {
  if (comms_.place->size() > 1) {
    comms_.world.progress().set_phase(Phase::kExpertReduce);
    // A device that captures steps must not wait for the count; it reduces the rows behind it, too.
    const int64_t count = backend_.supports_capture() ? y.rows() : local_.num_assignments(route.groups, stream);
    place_reducer_->all_reduce(y.slice_rows(0, count), stream);
  }
  const TensorView sums = one_group() ? out : sums_.view.slice_rows(0, route.rows.rows());
  backend_.weighted_sum(y, {route.groups.slots, route.ids, route.weights, dtype_}, sums, stream);
  comms_.world.progress().set_phase(Phase::kCombine);
  peer_reducer_->all_reduce(sums, stream);
  if (!one_group()) backend_.copy(sums.slice_rows(rows.home.begin, rows.home.size()), out, stream);
  if (dtype_ == DType::kBF16) backend_.round_to_bf16(out, stream);
}

}  // namespace octet
