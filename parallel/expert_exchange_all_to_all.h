// The exchange of the sliced row layout: a row travels once to every rank that owns one of its experts, all-to-all with
// exact counts, and the weighted sums travel home the same way. One host wait a layer, for the counts.
//
// With top_k <= 2 a place adds a row's products before they travel (a sum of two does not depend on its order); with
// more, each product travels alone and is added at home in ascending expert id. Where several ranks share a place, each
// gets the row, computes its ffn slices, and brings a near-equal part of the completed rows home.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "parallel/expert_exchange.h"
#include "parallel/expert_exchange_replicated.h"
#include "parallel/local_experts.h"
#include "parallel/rank_groups.h"
#include "parallel/tree_reduce.h"
#include "parallel/wire_rows.h"

namespace octet {

class AllToAllExpertExchange final : public ExpertExchange {
 public:
  AllToAllExpertExchange(Backend& backend, ModelComms& comms, const Topology& topology, const ExchangeShape& shape);

  int64_t max_assignments() const override { return local_.max_assignments(); }
  void begin(std::span<const int64_t>) override {}
  Route dispatch(TensorView rows, TensorView ids, TensorView weights, Stream& stream) override;
  void combine(const Route& route, TensorView y, TensorView out, Stream& stream) override;

 private:
  // Most rows of a step.
  struct Capacity {
    Capacity(const ExchangeShape& shape, const Topology& topology, int64_t num_local);
    int64_t mine;      // of this rank
    int64_t sent;      // copies of them for other ranks and this one
    int64_t received;  // from all
    int64_t returned;  // sums, or products, of the received
    int64_t arrived;   // of this rank's own, back home
  };
  // Rows or products that travel together: of every rank of the expert group, in its order.
  using Counts = std::vector<int64_t>;

  int place_of(int32_t expert) const;
  void list_sends(int64_t num_rows);
  void exchange_counts(Stream& stream);
  TensorView exchange_rows(TensorView rows, Stream& stream);
  void exchange_metadata(Stream& stream);
  void list_returns(const ExpertGroups& groups, Stream& stream);
  TensorView weigh(const Route& route, TensorView y, Stream& stream);
  void list_arrivals(int64_t num_rows);

  Backend& backend_;
  ModelComms& comms_;
  int etp_;
  int etp_index_;
  int64_t num_ranks_;
  int64_t top_k_;
  DType dtype_;
  bool sums_travel_;                         // top_k <= 2
  std::vector<std::vector<int>> places_of_;  // [num_experts]: places that own it, ascending
  int my_place_;
  Capacity capacity_;
  LocalExperts local_;
  TreeReducer place_reducer_;

  Tensor send_;                // of the exchange's dtype, [rows, hidden]
  Tensor received_;            // [rows, hidden]
  Tensor returned_, arrived_;  // [products, hidden]
  WireRows outgoing_, incoming_;
  Tensor index_;                 // I32: uploads of row indexes
  Tensor ids_, weights_;         // of the received rows
  Tensor slots_, order_, ones_;  // of the returns, then of the arrivals

  // Host side of the step, by choice (row · top_k + j) of this rank's rows, or by received row.
  std::vector<int32_t> host_ids_;  // ids of this rank's rows
  std::vector<float> host_weights_;
  std::vector<int> place_of_choice_;
  std::vector<int32_t> send_row_;                      // of each row sent: which of this rank's rows
  Counts send_rows_, receive_rows_;                    // dispatch
  std::vector<int32_t> metadata_, received_metadata_;  // [rows, 2 · top_k]: ids (-1: not for that place), weights' bits
  Counts return_rows_, arrive_rows_;                   // combine
  std::vector<int32_t> return_slots_, return_ids_;
  std::vector<float> return_weights_;
  std::vector<int32_t> arrival_of_choice_;
};

}  // namespace octet
