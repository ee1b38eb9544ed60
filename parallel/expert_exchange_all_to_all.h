// The exchange of the sliced row layout: a row travels once to every rank that owns one of its experts, all-to-all with
// exact counts, and the weighted sums travel home the same way (parallel/dispatch_plan says what goes where). The
// choices of all rows are gathered first, so every rank knows all counts after one wait of the host a layer.
//
// In large steps (ExchangeShape::least_kept_rows) rows whose experts are here do not wait: on a stream of its own the
// exchange gathers choices, waits for them and carries rows, while the model's stream computes what was kept
// (ExpertExchange::keep). The model's stream meets it again before the received rows are computed.
//
// Where several ranks share a place, each gets the row, computes its ffn slices, and brings a near-equal part of the
// completed rows home.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "parallel/dispatch_plan.h"
#include "parallel/expert_exchange.h"
#include "parallel/expert_exchange_replicated.h"
#include "parallel/local_experts.h"
#include "parallel/rank_groups.h"
#include "parallel/tree_reduce.h"
#include "parallel/wire_rows.h"

namespace octet {

// What is kept reads its experts' weights once more. That costs nothing where the product is bound by arithmetic, from
// 150 (A100) to 300 (H100) rows an expert on, and a product of so many rows lasts longer than choices and rows travel.
inline constexpr int64_t kLeastKeptRows = 256;

class AllToAllExpertExchange final : public ExpertExchange {
 public:
  AllToAllExpertExchange(Backend& backend, ModelComms& comms, const Topology& topology, const ExchangeShape& shape);

  int64_t max_assignments() const override { return local_.max_assignments(); }
  std::optional<Route> keep(const StepRows& rows, const RoutedRows& mine, Stream& stream) override;
  Route dispatch(const StepRows& rows, const RoutedRows& mine, Stream& stream) override;
  void combine(const StepRows& rows, const Route& route, TensorView y, TensorView out, Stream& stream) override;

 private:
  // Most rows of a step on one rank, with num_local experts.
  struct Capacity {
    Capacity(const ExchangeShape& shape, const Topology& topology, int64_t num_local);
    int64_t mine;      // of this rank
    int64_t kept;      // of this rank, computed beside the exchange
    int64_t sent;      // copies of them for other ranks and this one
    int64_t received;  // from all; also all rows of the expert group
    int64_t returned;  // sums, or products, of the received
    int64_t arrived;   // of this rank's own, back home
  };

  void gather_choices(const StepRows& rows, const RoutedRows& mine, Stream& stream);
  void plan_rows(const StepRows& rows, Stream& stream);
  void sum_kept(TensorView y, Stream& stream);
  TensorView exchange_rows(TensorView rows, Stream& stream);
  WeightedChoices returned_choices(const Route& route, Stream& stream);
  TensorView upload_index(const std::vector<int32_t>& index, Stream& stream);

  Backend& backend_;
  ModelComms& comms_;
  int64_t top_k_;
  DType dtype_;
  DispatchPlan plan_;
  Capacity capacity_;
  LocalExperts local_;
  LocalExperts kept_experts_;
  std::optional<Route> kept_;  // of the layer under way
  std::unique_ptr<Reducer> place_reducer_;
  std::unique_ptr<Stream> rows_stream_;  // on which rows travel beside the product of those that stay
  int64_t least_kept_rows_;              // of this rank's; the capacity's `kept` is 0 where none ever stay

  Tensor all_ids_, all_weights_;  // [rows of the expert group, top_k]
  Tensor send_;                   // of the exchange's dtype, [rows, hidden]
  Tensor received_;               // [rows, hidden]
  Tensor returned_, arrived_;     // [products, hidden]; before what arrives, sums of what was kept
  WireRows outgoing_, incoming_;
  Tensor index_;                                             // I32: uploads of row indexes
  Tensor ids_, weights_;                                     // of the received rows
  Tensor returned_slots_, returned_ids_, returned_weights_;  // where not all of the received is returned
  Tensor arrival_slots_, ones_;                              // [my rows, top_k]

  Tensor host_ids_, host_weights_;  // of all rows of the expert group, in memory that downloads reach directly
};

}  // namespace octet
