// What NCCL must be asked for in a step: computed from the layout and the step's rows, and where rows travel by their
// choices from parallel/dispatch_plan, never from what a communicator was given.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "parallel/dispatch_plan.h"
#include "parallel/expert_placement.h"
#include "parallel/rank_groups.h"
#include "parallel/shard_plan.h"
#include "runtime/checkpoint/model_config.h"
#include "runtime/model/step_plan.h"

namespace octet {

// One operation of NCCL.
struct NcclCall {
  std::string what;  // "Send"
  uint64_t bytes = 0;
  int peer = -1;  // its index in the group; -1: all

  auto operator<=>(const NcclCall&) const = default;
};

// Operations that are enqueued together: their order among themselves is free.
using NcclGroupCalls = std::vector<NcclCall>;

class ExpectedCalls {
 public:
  ExpectedCalls(const ModelConfig& config, const Topology& topology, int rank)
      : config_(config),
        topology_(topology),
        rank_(rank),
        groups_(make_rank_groups(topology, rank)),
        row_bytes_(config.hidden_size * 4) {}

  // choices[layer]: the ids that every rank of this rank's expert group chose for its rows, in the group's order.
  std::vector<NcclGroupCalls> of_sliced_step(const StepPlan& plan, std::span<const std::vector<int32_t>> choices) {
    const auto all = rows_of_ranks(plan, false), wanted = rows_of_ranks(plan, true);
    for (size_t layer = 0; layer < choices.size(); ++layer) {
      gather(groups_.tp, all, row_bytes_);
      reduce_scatter(groups_.tp, all);
      exchange(layer + 1 == choices.size() ? wanted : all, choices[layer]);
    }
    gather(groups_.tp, wanted, row_bytes_);
    logits(plan);
    return std::move(calls_);
  }

  // padded_rows: of every dp group; 0: the step is not padded.
  std::vector<NcclGroupCalls> of_replicated_step(const StepPlan& plan, int64_t padded_rows) {
    const auto rows_of = [&](bool wanted) {
      std::vector<int64_t> rows;
      for (const GroupPlan& group : plan.groups) {
        rows.push_back(padded_rows > 0 ? padded_rows : wanted ? std::ssize(group.logit_rows) : group.num_rows());
      }
      return rows;
    };
    for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
      all_reduce(groups_.tp, rows_of(false)[static_cast<size_t>(topology_.dp_index(rank_))]);
      sums_of_experts(rows_of(layer + 1 == config_.num_layers));
    }
    logits(plan);
    return std::move(calls_);
  }

 private:
  // Of every rank of the job in the sliced layout.
  std::vector<int64_t> rows_of_ranks(const StepPlan& plan, bool wanted) const {
    std::vector<int64_t> rows;
    for (const GroupPlan& group : plan.groups) {
      for (int i = 0; i < topology_.tp; ++i) {
        const Range part = near_equal_part(group.num_rows(), topology_.tp, i);
        const auto is_here = [&](int32_t row) { return row >= part.begin && row < part.end; };
        rows.push_back(wanted ? std::ranges::count_if(group.logit_rows, is_here) : part.size());
      }
    }
    return rows;
  }

  static int index_in(const std::vector<int>& ranks, int rank) {
    return static_cast<int>(std::ranges::find(ranks, rank) - ranks.begin());
  }
  static std::vector<int64_t> pick(const std::vector<int>& ranks, const std::vector<int64_t>& of_world) {
    std::vector<int64_t> of_group;
    for (const int rank : ranks) of_group.push_back(of_world[static_cast<size_t>(rank)]);
    return of_group;
  }
  void add(NcclGroupCalls calls) {
    std::erase_if(calls, [](const NcclCall& call) { return call.bytes == 0; });
    if (!calls.empty()) calls_.push_back(std::move(calls));
  }

  void gather(const std::vector<int>& ranks, const std::vector<int64_t>& rows_of_world, int64_t bytes_each) {
    gather_of(pick(ranks, rows_of_world), index_in(ranks, rank_), bytes_each);
  }
  void gather_of(const std::vector<int64_t>& rows, int me, int64_t bytes_each) {
    if (rows.size() == 1) return;
    const auto bytes = [&](size_t of) { return static_cast<uint64_t>(rows[of] * bytes_each); };
    if (std::ranges::count(rows, rows[0]) == std::ssize(rows)) return add({{"AllGather", bytes(0)}});
    NcclGroupCalls calls;
    for (size_t other = 0; other < rows.size(); ++other) {
      if (static_cast<int>(other) == me) continue;
      calls.push_back({"Send", bytes(static_cast<size_t>(me)), static_cast<int>(other)});
      calls.push_back({"Recv", bytes(other), static_cast<int>(other)});
    }
    add(std::move(calls));
  }

  void reduce_scatter(const std::vector<int>& ranks, const std::vector<int64_t>& rows_of_world) {
    if (ranks.size() == 1) return;
    const auto rows = pick(ranks, rows_of_world);
    const auto bytes = [&](int64_t of) { return static_cast<uint64_t>(of * row_bytes_); };
    if (std::ranges::count(rows, rows[0]) == std::ssize(rows)) return add({{"ReduceScatter", bytes(rows[0])}});
    NcclGroupCalls calls;
    for (const int64_t of : rows) calls.push_back({"Reduce", bytes(of)});
    add(std::move(calls));
  }

  void all_reduce(const std::vector<int>& ranks, int64_t rows) {
    if (ranks.size() > 1) add({{"AllReduce", static_cast<uint64_t>(rows * row_bytes_)}});
  }

  // Of a group: so many rows to and from each rank.
  void all_to_all(const DispatchPlan::Counts& sent, const DispatchPlan::Counts& received, int me, int64_t bytes_each) {
    NcclGroupCalls calls;
    for (int other = 0; other < static_cast<int>(sent.size()); ++other) {
      if (other == me) continue;
      const auto at = static_cast<size_t>(other);
      calls.push_back({"Send", static_cast<uint64_t>(sent[at] * bytes_each), other});
      calls.push_back({"Recv", static_cast<uint64_t>(received[at] * bytes_each), other});
    }
    add(std::move(calls));
  }

  void exchange(const std::vector<int64_t>& rows_of_world, const std::vector<int32_t>& ids) {
    const std::vector<int>& ranks = groups_.experts;
    const int me = index_in(ranks, rank_);
    const int64_t top_k = config_.experts_per_token;
    gather(ranks, rows_of_world, top_k * 4);  // ids
    gather(ranks, rows_of_world, top_k * 4);  // weights
    DispatchPlan plan(
        {static_cast<int>(ranks.size()), topology_.etp, me, top_k,
         places_of_experts(place_experts_linear(config_.num_experts, topology_.ep), config_.num_experts)});
    plan.compute(ids, std::vector<float>(ids.size()), pick(ranks, rows_of_world));
    all_to_all(plan.send_rows(), plan.receive_rows(), me, row_bytes_);
    all_reduce(groups_.place, plan.num_assignments());
    all_to_all(plan.return_rows(), plan.arrive_rows(), me, row_bytes_);
  }

  // rows_of: of every dp group. The rows of all groups here reach all ranks, each dp group's handed out by its ranks in
  // near-equal parts; a place completes every product there may be; sums are of all rows.
  void sums_of_experts(const std::vector<int64_t>& rows_of) {
    std::vector<int> dp;
    for (const int rank : groups_.experts) dp.push_back(topology_.dp_index(rank));
    int64_t rows_here = 0;
    for (int group = 0; group < topology_.dp; ++group) {
      if (std::ranges::count(dp, group) > 0) rows_here += rows_of[static_cast<size_t>(group)];
    }
    if (std::ranges::count(dp, dp[0]) < std::ssize(dp)) {
      std::vector<int64_t> shares;
      for (size_t i = 0; i < dp.size(); ++i) {
        const int64_t index = std::count(dp.begin(), dp.begin() + static_cast<long>(i), dp[i]);
        const int64_t rows = rows_of[static_cast<size_t>(dp[i])];
        shares.push_back(near_equal_part(rows, std::ranges::count(dp, dp[i]), index).size());
      }
      const int me = index_in(groups_.experts, rank_);
      for (const int64_t bytes : {row_bytes_, config_.experts_per_token * 4, config_.experts_per_token * 4}) {
        gather_of(shares, me, bytes);
      }
    }
    const auto experts = place_experts_linear(config_.num_experts, topology_.ep);
    const int64_t most_choices =
        std::min(config_.experts_per_token, std::ssize(experts[static_cast<size_t>(topology_.ep_index(rank_))]));
    all_reduce(groups_.place, rows_here * most_choices);
    all_reduce(groups_.peers, rows_here);
  }

  // Every rank's shard to rank 0, which has its own.
  void logits(const StepPlan& plan) {
    DispatchPlan::Counts sent(static_cast<size_t>(topology_.world), 0), received(sent);
    const auto shard = [&](int rank) {
      return std::ssize(plan.groups[static_cast<size_t>(topology_.dp_index(rank))].logit_rows) *
             near_equal_part(config_.vocab_size, topology_.tp, topology_.tp_index(rank)).size();
    };
    sent[0] = shard(rank_);
    for (int rank = 0; rank_ == 0 && rank < topology_.world; ++rank) received[static_cast<size_t>(rank)] = shard(rank);
    all_to_all(sent, received, rank_, 4);
  }

  const ModelConfig& config_;
  const Topology& topology_;
  int rank_;
  RankGroups groups_;
  int64_t row_bytes_;
  std::vector<NcclGroupCalls> calls_;
};

}  // namespace octet
