// ExpertExchange: carries token rows to the ranks that own their experts and brings the weighted sums home.
//
// In bf16, three things are rounded wherever a row is computed, also on one rank alone: the experts' input, each
// product weight · y, and their sum. So results do not depend on what travelled.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "kernels/backend.h"

namespace octet {

// Where a step's rows are after dispatch: what the local experts compute on, and what combine needs to find the way
// back.
struct Route {
  TensorView rows;      // F32 [rows here, hidden]
  TensorView ids;       // I32 [rows here, top_k]
  TensorView weights;   // F32 [rows here, top_k]
  ExpertGroups groups;  // of the rows here, by local expert
};

class ExpertExchange {
 public:
  virtual ~ExpertExchange() = default;
  // Most assignments that a dispatch can bring to this rank.
  virtual int64_t max_assignments() const = 0;
  // How many rows each rank of the job brings to the dispatches that follow.
  virtual void begin(std::span<const int64_t> rows_of_rank) = 0;
  // These rows will be dispatched: they may set out while their experts are still being chosen. Until the dispatch
  // `rows` stay as they are.
  virtual void announce(TensorView /*rows*/, Stream& /*stream*/) {}
  // What of the dispatch need not wait for other ranks: the choices of this rank's rows whose experts are here, to be
  // computed while the rest travels. Only before a dispatch of the same; none where everything comes with that, because
  // a product of their own would cost more than it hides. Valid until the next dispatch's combine.
  virtual std::optional<Route> keep(TensorView /*rows*/, TensorView /*ids*/, TensorView /*weights*/,
                                    Stream& /*stream*/) {
    return std::nullopt;
  }
  // rows F32 [rows, hidden] as announced, ids I32 [rows, top_k], weights F32 [rows, top_k]: of this rank's rows. `rows`
  // may be rounded in place to the exchange's precision. The route is valid until the next dispatch.
  virtual Route dispatch(TensorView rows, TensorView ids, TensorView weights, Stream& stream) = 0;
  // out[r] = Σ weight · y of row r's experts in ascending expert id, for this rank's rows. y F32 [assignments, hidden]:
  // what the local experts computed (with several ranks to a place, their partial products), of what was kept, then of
  // the route; used up.
  virtual void combine(const Route& route, TensorView y, TensorView out, Stream& stream) = 0;
};

}  // namespace octet
