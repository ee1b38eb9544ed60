// ChosenExperts: the experts that a step's rows chose, layer by layer, on the device; read on the host once the step is
// done.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "runtime/model/expert_load.h"
#include "runtime/model/plan_rows.h"

namespace octet {

// The rows that ran are those of the plan, or those with padding behind them. The choices of all layers lie one after
// the other, so that what a step has comes to the host by one transfer.
class ChosenExperts {
 public:
  ChosenExperts(Backend& backend, int64_t num_layers, int64_t max_rows, int64_t top_k);

  // Where the choices of a layer's rows belong: I32 [rows of the layer that this rank keeps, top_k].
  TensorView layer(int64_t layer, const PlanRows& ran) const { return layer_of(ids_.view, layer, ran); }
  // Enqueues the way of a step's choices to host memory; of a copy's nothing, for nobody asks it.
  void download(const PlanRows& ran, Stream& stream) const;
  // After the wait: adds the choices of a plan's rows.
  void count(const PlanRows& ran, const PlanRows& rows, ExpertLoad& load) const;
  // After the wait: appends the choices of the rows whose logits are wanted: [wanted rows, layers, top_k].
  void append(const PlanRows& ran, const PlanRows& rows, std::vector<int32_t>& choices) const;

 private:
  int64_t rows_of_layer(int64_t layer, const PlanRows& rows) const {
    return layer + 1 < num_layers_ ? rows.all.mine.size() : rows.wanted.mine.size();
  }
  TensorView layer_of(TensorView ids, int64_t layer, const PlanRows& ran) const {
    return ids.slice_rows(layer * ran.all.mine.size(), rows_of_layer(layer, ran));
  }

  Backend& backend_;
  int64_t num_layers_;
  int64_t top_k_;
  Tensor ids_;       // I32 [num_layers · max_rows, top_k]
  Tensor host_ids_;  // the same in host memory
};

}  // namespace octet
