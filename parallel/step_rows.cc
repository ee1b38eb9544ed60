#include "parallel/step_rows.h"

#include <algorithm>

#include "runtime/base/check.h"

namespace octet {
namespace {

// What a rank keeps of its group's rows.
Range kept_rows(RowLayoutKind layout, const Topology& topology, const GroupRows& group, int tp_index) {
  if (layout == RowLayoutKind::kReplicated) return {0, group.num_rows};
  return near_equal_part(group.num_rows, topology.tp, tp_index);
}

// Which entries of its group's wanted rows it keeps.
Range kept_wanted(RowLayoutKind layout, const Topology& topology, const GroupRows& group, int tp_index) {
  const Range kept = kept_rows(layout, topology, group, tp_index);
  const auto first_of = [&](int64_t row) {
    return std::lower_bound(group.wanted.begin(), group.wanted.end(), row) - group.wanted.begin();
  };
  return {first_of(kept.begin), first_of(kept.end)};
}

// Slices: a rank brings what it keeps.
template <typename Kept>
void bring_slices(const Topology& topology, int rank, const Kept& kept, StepRows& rows) {
  const int first_rank = topology.replica(rank) * topology.ep * topology.etp;
  rows.num_met = 0;
  for (size_t i = 0; i < rows.rows_of_experts.size(); ++i) {
    const int other = first_rank + static_cast<int>(i);
    const int64_t count = kept(topology.dp_index(other), topology.tp_index(other)).size();
    if (other == rank) {
      rows.brought = {0, count};
      rows.home = {rows.num_met, rows.num_met + count};
    }
    rows.rows_of_experts[i] = count;
    rows.num_met += count;
  }
}

// Copies: the ranks of a dp group share the work of handing its rows to the others.
template <typename Kept>
void bring_shares(const Topology& topology, int rank, const Kept& kept, StepRows& rows) {
  const int first_rank = topology.replica(rank) * topology.ep * topology.etp;
  const int num_ranks = static_cast<int>(rows.rows_of_experts.size());
  rows.num_met = 0;
  for (int begin = 0, end = 0; begin < num_ranks; begin = end) {
    const int dp_index = topology.dp_index(first_rank + begin);
    while (end < num_ranks && topology.dp_index(first_rank + end) == dp_index) ++end;
    const int64_t num_rows = kept(dp_index, 0).size();
    if (dp_index == topology.dp_index(rank)) rows.home = {rows.num_met, rows.num_met + num_rows};
    for (int i = begin; i < end; ++i) {
      const Range share = near_equal_part(num_rows, end - begin, i - begin);
      rows.rows_of_experts[static_cast<size_t>(i)] = share.size();
      if (first_rank + i == rank) rows.brought = share;
    }
    rows.num_met += num_rows;
  }
}

// kept(dp_index, tp_index): what that rank keeps of the num_rows rows of its group.
template <typename Kept>
void fill(RowLayoutKind layout, const Topology& topology, int rank, int64_t num_rows, const Kept& kept,
          StepRows& rows) {
  const int dp_index = topology.dp_index(rank);
  rows.num_rows = num_rows;
  rows.mine = kept(dp_index, topology.tp_index(rank));
  rows.rows_of_tp.resize(static_cast<size_t>(topology.tp));
  for (int i = 0; i < topology.tp; ++i) rows.rows_of_tp[static_cast<size_t>(i)] = kept(dp_index, i).size();
  rows.rows_of_experts.resize(static_cast<size_t>(topology.ep * topology.etp));
  if (layout == RowLayoutKind::kSliced) {
    bring_slices(topology, rank, kept, rows);
  } else {
    bring_shares(topology, rank, kept, rows);
  }
}

}  // namespace

std::string_view row_layout_name(RowLayoutKind kind) {
  return kind == RowLayoutKind::kSliced ? "all-to-all" : "replicated";
}

void StepRowsMaker::make_all(RowLayoutKind layout, std::span<const GroupRows> groups, StepRows& rows) const {
  OCTET_CHECK(std::ssize(groups) == topology_.dp, "{} groups", groups.size());
  const auto kept = [&](int dp_index, int tp_index) {
    return kept_rows(layout, topology_, groups[static_cast<size_t>(dp_index)], tp_index);
  };
  fill(layout, topology_, rank_, groups[static_cast<size_t>(topology_.dp_index(rank_))].num_rows, kept, rows);
}

void StepRowsMaker::make_wanted(RowLayoutKind layout, std::span<const GroupRows> groups, StepRows& rows) const {
  OCTET_CHECK(std::ssize(groups) == topology_.dp, "{} groups", groups.size());
  const auto kept = [&](int dp_index, int tp_index) {
    return kept_wanted(layout, topology_, groups[static_cast<size_t>(dp_index)], tp_index);
  };
  const auto num_wanted = std::ssize(groups[static_cast<size_t>(topology_.dp_index(rank_))].wanted);
  fill(layout, topology_, rank_, num_wanted, kept, rows);
}

}  // namespace octet
