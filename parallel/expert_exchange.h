// ExpertExchange: carries token rows to the ranks that own their experts and brings the weighted sums home.
//
// In bf16, three things are rounded wherever a row is computed, also on one rank alone: the experts' input, each
// product weight · y, and their sum. So results do not depend on what travelled.
#pragma once

#include <cstdint>
#include <optional>

#include "kernels/backend.h"
#include "parallel/step_rows.h"

namespace octet {

// Rows and the experts that they chose.
struct RoutedRows {
  TensorView rows;     // F32 [rows, hidden]
  TensorView ids;      // I32 [rows, top_k]
  TensorView weights;  // F32 [rows, top_k]
};

// Where a step's rows are after dispatch: what the local experts compute on, and what combine needs to find the way
// back.
struct Route {
  TensorView rows;      // F32 [rows here, hidden]
  TensorView ids;       // I32 [rows here, top_k]
  TensorView weights;   // F32 [rows here, top_k]
  ExpertGroups groups;  // of the rows here, by local expert
};

// The calls of one layer have the same StepRows, which say what each rank brings.
class ExpertExchange {
 public:
  virtual ~ExpertExchange() = default;
  // Most assignments that a dispatch can bring to this rank.
  virtual int64_t max_assignments() const = 0;
  // These rows will be dispatched: they may set out while their experts are still being chosen. Until the dispatch
  // `mine` stay as they are.
  virtual void announce(const StepRows&, TensorView /*mine*/, Stream& /*stream*/) {}
  // What of the dispatch need not wait for other ranks: the choices of this rank's rows whose experts are here, to be
  // computed while the rest travels. Only before a dispatch of the same; none where everything comes with that, because
  // a product of their own would cost more than it hides. Valid until the next dispatch's combine.
  virtual std::optional<Route> keep(const StepRows&, const RoutedRows& /*mine*/, Stream& /*stream*/) {
    return std::nullopt;
  }
  // mine: this rank's rows, as announced; they may be rounded in place to the exchange's precision. The route is valid
  // until the next dispatch.
  virtual Route dispatch(const StepRows& rows, const RoutedRows& mine, Stream& stream) = 0;
  // out[r] = Σ weight · y of row r's experts in ascending expert id, for this rank's rows. y F32 [assignments, hidden]:
  // what the local experts computed (with several ranks to a place, their partial products), of what was kept, then of
  // the route; used up.
  virtual void combine(const StepRows& rows, const Route& route, TensorView y, TensorView out, Stream& stream) = 0;
};

}  // namespace octet
