// The exchange of the replicated row layout: every rank of the expert group comes to hold all rows of the group's
// sequences (its own tp group's it has already), computes those of its experts, and the weighted sums are reduced over
// the group, in fp32. Rows travel on a stream of their own, so that on an asynchronous device the router works
// meanwhile; ids and weights follow when both are done.
#pragma once

#include <memory>
#include <vector>

#include "parallel/expert_exchange.h"
#include "parallel/local_experts.h"
#include "parallel/rank_groups.h"
#include "parallel/tree_reduce.h"
#include "parallel/wire_rows.h"

namespace octet {

// What an exchange is built for.
struct ExchangeShape {
  int64_t num_experts = 0;
  int64_t top_k = 0;
  int64_t hidden = 0;
  int64_t max_rows = 0;                                // of one dp group
  std::vector<std::vector<int32_t>> experts_of_place;  // [ep]
  DType dtype = DType::kF32;                           // of rows that travel, kF32 or kBF16
  // Own rows an expert, on average, from which those whose experts are here are computed beside the all-to-all; 0:
  // never.
  int64_t least_kept_rows = 0;
};

class ReplicatedExpertExchange final : public ExpertExchange {
 public:
  ReplicatedExpertExchange(Backend& backend, ModelComms& comms, const Topology& topology, const ExchangeShape& shape);

  int64_t max_assignments() const override { return local_.max_assignments(); }
  void announce(const StepRows& rows, TensorView mine, Stream& stream) override;
  Route dispatch(const StepRows& rows, const RoutedRows& mine, Stream& stream) override;
  void combine(const StepRows& rows, const Route& route, TensorView y, TensorView out, Stream& stream) override;

 private:
  bool one_group() const { return num_groups_ == 1; }

  Backend& backend_;
  ModelComms& comms_;
  DType dtype_;
  int64_t num_groups_;  // dp groups with ranks in the expert group
  LocalExperts local_;
  std::unique_ptr<Reducer> place_reducer_;
  std::unique_ptr<Reducer> peer_reducer_;
  std::unique_ptr<Stream> rows_stream_;  // on which rows travel beside the router
  Tensor rows_, ids_, weights_, sums_;   // of all groups here, where there are several
  WireRows sent_, received_;
};

}  // namespace octet
