#include "parallel/expert_exchange_replicated.h"

#include <algorithm>
#include <numeric>

#include "parallel/expert_placement.h"
#include "parallel/shard_plan.h"

namespace octet {
namespace {

std::vector<int> dp_of_ranks(const Topology& topology, const std::vector<int>& ranks) {
  std::vector<int> dp;
  for (const int rank : ranks) dp.push_back(topology.dp_index(rank));
  return dp;
}

std::vector<int> distinct(std::vector<int> ascending) {
  ascending.erase(std::unique(ascending.begin(), ascending.end()), ascending.end());
  return ascending;
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
      tp_(topology.tp),
      dp_of_rank_(dp_of_ranks(topology, make_rank_groups(topology, comms.world.rank()).experts)),
      groups_here_(distinct(dp_of_rank_)),
      my_group_(topology.dp_index(comms.world.rank())),
      local_(backend, shape.top_k, local_indexes(shape, topology.ep_index(comms.world.rank())),
             std::ssize(shape.experts_of_place[static_cast<size_t>(topology.ep_index(comms.world.rank()))]),
             shape.max_rows * std::ssize(groups_here_)),
      place_reducer_(make_reducer(backend, *comms.place, local_.max_assignments() * shape.hidden)),
      peer_reducer_(make_reducer(backend, *comms.peers, shape.max_rows * std::ssize(groups_here_) * shape.hidden)),
      rows_stream_(backend.make_stream()),
      sent_(backend, shape.dtype, one_group() ? 0 : shape.max_rows, shape.hidden),
      received_(backend, shape.dtype, one_group() ? 0 : shape.max_rows * std::ssize(groups_here_), shape.hidden),
      share_of_(dp_of_rank_.size()) {
  const int64_t max_rows = one_group() ? 0 : shape.max_rows * std::ssize(groups_here_);
  rows_ = backend.allocate_tensor(DType::kF32, {max_rows, shape.hidden});
  sums_ = backend.allocate_tensor(DType::kF32, {max_rows, shape.hidden});
  ids_ = backend.allocate_tensor(DType::kI32, {max_rows, shape.top_k});
  weights_ = backend.allocate_tensor(DType::kF32, {max_rows, shape.top_k});
}

// The ranks of a dp group share the work of handing its rows to the others.
void ReplicatedExpertExchange::begin(std::span<const int64_t> rows_of_rank) {
  int64_t first_row = 0;
  for (const int group : groups_here_) {
    const int64_t num_rows = rows_of_rank[static_cast<size_t>(group * tp_)];
    if (group == my_group_) my_rows_ = {first_row, first_row + num_rows};
    first_row += num_rows;
    const int64_t num_ranks = std::count(dp_of_rank_.begin(), dp_of_rank_.end(), group);
    int64_t index = 0;
    for (size_t i = 0; i < dp_of_rank_.size(); ++i) {
      if (dp_of_rank_[i] != group) continue;
      const Range share = near_equal_part(num_rows, num_ranks, index++);
      share_of_[i] = share.size();
      if (static_cast<int>(i) == comms_.experts->rank()) my_share_ = share;
    }
  }
  num_rows_ = first_row;
}

// This rank's part of its rows goes to all, and all parts come here.
void ReplicatedExpertExchange::announce(TensorView rows, Stream& stream) {
  if (one_group()) return;
  rows_stream_->wait_for(stream);
  const TensorView mine = sent_.pack(rows.slice_rows(my_share_.begin, my_share_.size()), *rows_stream_);
  const TensorView all = rows_.view.slice_rows(0, num_rows_);
  comms_.world.progress().set_phase(Phase::kDispatch);
  comms_.experts->all_gather_v(mine, share_of_, received_.landing(all), *rows_stream_);
  received_.unpack(all, *rows_stream_);
}

Route ReplicatedExpertExchange::dispatch(TensorView rows, TensorView ids, TensorView weights, Stream& stream) {
  if (one_group()) {
    if (dtype_ == DType::kBF16) backend_.round_to_bf16(rows, stream);
    return {rows, ids, weights, local_.group(ids, stream)};
  }
  // Here, and not behind the two gathers that follow: a communicator's calls have one order on all ranks.
  stream.wait_for(*rows_stream_);
  const auto gather = [&](TensorView mine, const Tensor& all) {
    const TensorView whole = all.view.slice_rows(0, num_rows_);
    comms_.experts->all_gather_v(mine.slice_rows(my_share_.begin, my_share_.size()), share_of_, whole, stream);
    return whole;
  };
  comms_.world.progress().set_phase(Phase::kDispatchCounts);
  const TensorView all_ids = gather(ids, ids_);
  const TensorView all_weights = gather(weights, weights_);
  return {rows_.view.slice_rows(0, num_rows_), all_ids, all_weights, local_.group(all_ids, stream)};
}

void ReplicatedExpertExchange::combine(const Route& route, TensorView y, TensorView out, Stream& stream) {
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
  if (!one_group()) backend_.copy(sums.slice_rows(my_rows_.begin, my_rows_.size()), out, stream);
  if (dtype_ == DType::kBF16) backend_.round_to_bf16(out, stream);
}

}  // namespace octet
