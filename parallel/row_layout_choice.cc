#include "parallel/row_layout_choice.h"

#include <cmath>

namespace octet {
namespace {

// The share of rows that have none of `owned` of the num_experts experts among their top_k: C(E - owned, k) / C(E, k).
double share_without(int64_t num_experts, double owned, int64_t top_k) {
  double share = 1;
  for (int64_t i = 0; i < top_k; ++i) {
    const double left = static_cast<double>(num_experts - i);
    share *= std::max(0.0, left - owned) / left;
  }
  return share;
}

// Bytes that one rank sends in a reduce-scatter or all-gather of one row over p ranks.
double half_reduce(int p, double row_bytes) { return (p - 1.0) / p * row_bytes; }

}  // namespace

RowLayoutCost row_layout_cost(RowLayoutKind kind, const Topology& t, int64_t num_experts, int64_t top_k, int64_t hidden,
                              int64_t element_bytes) {
  const double fp32_row = static_cast<double>(hidden) * sizeof(float);
  const double exchange_row = static_cast<double>(hidden * element_bytes);
  RowLayoutCost cost;
  if (t.tp > 1) {
    cost.num_messages += 2;
    cost.attention_bytes = 2 * half_reduce(t.tp, fp32_row);
  }
  const double group_ranks = t.ep * t.etp;
  if (group_ranks == 1) return cost;
  double rows_here = 0;  // that the expert group computes, for each row of a tp group
  if (kind == RowLayoutKind::kSliced) {
    rows_here = group_ranks / t.tp;
    const double owned = static_cast<double>(num_experts) / t.ep;
    const double reaching = 1 - share_without(num_experts, owned, top_k);  // share of rows that a place needs
    const double sent_rows = reaching * (group_ranks - 1) / t.tp;
    // Home comes a sum from each place, or with more than two experts every product, from one of the place's ranks.
    const double sent_home =
        top_k <= 2 ? sent_rows / t.etp : half_reduce(t.ep * t.etp, 1.0) * static_cast<double>(top_k) / t.tp;
    cost.num_messages += 4;  // ids, weights, rows, and home
    cost.dispatch_bytes = sent_rows * exchange_row;
    cost.combine_bytes = sent_home * exchange_row;
  } else {
    // Rows of a dp group that the ranks of an expert group hold together are reduced by all of them.
    rows_here = std::max(1.0, group_ranks / t.tp);
    if (rows_here > 1) {
      cost.num_messages += 3;  // rows, ids, weights
      cost.dispatch_bytes = (group_ranks - 1) / t.tp * exchange_row;
    }
    if (t.ep > 1) {
      cost.num_messages += 2;
      cost.combine_bytes = rows_here * 2 * half_reduce(t.ep, fp32_row);
    }
  }
  if (t.etp > 1) {
    cost.num_messages += 2;
    cost.expert_reduce_bytes = rows_here * static_cast<double>(top_k) / t.ep * 2 * half_reduce(t.etp, fp32_row);
  }
  return cost;
}

std::optional<int64_t> sliced_threshold(const Topology& topology, int64_t num_experts, int64_t top_k, int64_t hidden,
                                        int64_t element_bytes) {
  const auto cost = [&](RowLayoutKind kind) {
    return row_layout_cost(kind, topology, num_experts, top_k, hidden, element_bytes);
  };
  const RowLayoutCost sliced = cost(RowLayoutKind::kSliced);
  const RowLayoutCost replicated = cost(RowLayoutKind::kReplicated);
  const double saved_per_row = (replicated.bytes_per_row() - sliced.bytes_per_row()) * kSecondsPerByte;
  if (saved_per_row <= 0) return std::nullopt;
  const double lost = (sliced.num_messages - replicated.num_messages) * kSecondsPerMessage;
  return static_cast<int64_t>(std::ceil(std::max(1.0, lost / saved_per_row)));
}

MostRows RowLayoutChooser::most_rows(int64_t max_rows) const {
  if (!threshold_ || *threshold_ > max_rows) return {std::nullopt, max_rows};
  if (*threshold_ <= 0) return {max_rows, std::nullopt};
  return {max_rows, *threshold_ - 1};
}

Result<RowLayoutChooser> RowLayoutChooser::create(ExchangePolicy policy, const Topology& topology, int64_t num_experts,
                                                  int64_t top_k, int64_t hidden, int64_t element_bytes) {
  const bool replicated_offered = top_k <= 2 || topology.ep == 1;
  if (policy == ExchangePolicy::kReplicated && !replicated_offered) {
    return invalid_input(
        "--exchange replicated: not offered for {} experts a token over {} places; use auto or all-to-all", top_k,
        topology.ep);
  }
  if (policy == ExchangePolicy::kAllToAll || !replicated_offered) return RowLayoutChooser(0);
  if (policy == ExchangePolicy::kReplicated) return RowLayoutChooser(std::nullopt);
  return RowLayoutChooser(sliced_threshold(topology, num_experts, top_k, hidden, element_bytes));
}

}  // namespace octet
