// Which row layout a step uses: a pure function of the layout and the step's rows, so that every rank, and every run,
// decides alike.
#pragma once

#include <cstdint>
#include <optional>

#include "parallel/step_rows.h"
#include "parallel/topology.h"
#include "runtime/base/status.h"

namespace octet {

// --exchange
enum class ExchangePolicy { kAuto, kAllToAll, kReplicated };

// What a row layout costs a rank in one layer.
struct RowLayoutCost {
  int num_messages = 0;  // rounds in which a rank waits for others
  // Bytes that a rank sends, for each row of its tp group, with uniform routing and no replicas of single experts.
  double attention_bytes = 0;      // gather and reduce over the tp group
  double dispatch_bytes = 0;       // rows to their experts, without counts, ids and weights
  double expert_reduce_bytes = 0;  // completing products over the ranks that share a place
  double combine_bytes = 0;        // sums home

  double bytes_per_row() const { return attention_bytes + dispatch_bytes + expert_reduce_bytes + combine_bytes; }
};

// The figures of the cost model: time of a layer's communication = messages · α + bytes · β. They stand for shared
// memory or one fast network; what matters is that they are constants.
inline constexpr double kSecondsPerMessage = 20e-6;
inline constexpr double kSecondsPerByte = 1.0 / 5e9;

// element_bytes: of one exchanged activation; partial sums are fp32.
RowLayoutCost row_layout_cost(RowLayoutKind kind, const Topology& topology, int64_t num_experts, int64_t top_k,
                              int64_t hidden, int64_t element_bytes);

// The number of rows of a tp group from which the sliced layout costs less; none: it never does.
std::optional<int64_t> sliced_threshold(const Topology& topology, int64_t num_experts, int64_t top_k, int64_t hidden,
                                        int64_t element_bytes);

// Decides for the steps of a model.
class RowLayoutChooser {
 public:
  // kInvalidInput: the replicated layout is asked for where it is not offered (top_k > 2 over several places).
  static Result<RowLayoutChooser> create(ExchangePolicy policy, const Topology& topology, int64_t num_experts,
                                         int64_t top_k, int64_t hidden, int64_t element_bytes);

  // max_group_rows: of the dp group with the most rows in the step.
  RowLayoutKind choose(int64_t max_group_rows) const {
    return threshold_ && max_group_rows >= *threshold_ ? RowLayoutKind::kSliced : RowLayoutKind::kReplicated;
  }
  std::optional<int64_t> threshold() const { return threshold_; }

 private:
  explicit RowLayoutChooser(std::optional<int64_t> threshold) : threshold_(threshold) {}

  std::optional<int64_t> threshold_;  // rows from which steps are sliced; none: never
};

}  // namespace octet
