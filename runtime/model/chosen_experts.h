// ChosenExperts: the experts that a step's rows chose.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "runtime/model/expert_load.h"

namespace octet {

// The experts that a step's rows chose, layer by layer, on the device; counted on the host once the step is done.
class ChosenExperts {
 public:
  ChosenExperts(Backend& backend, int64_t num_layers, int64_t max_rows, int64_t top_k);

  // Where the choices of a layer's rows belong: I32 [num_rows, top_k].
  TensorView layer(int64_t layer, int64_t num_rows) const;
  // Enqueues the way to host memory.
  void download(Stream& stream);
  // After the wait: adds the choices of the first `num_rows` rows of every layer, of the last one `num_last_rows`.
  void count(int64_t num_rows, int64_t num_last_rows, ExpertLoad& load) const;
  // After the wait: appends the choices of row rows[i] of every layer, of the last one of row i: [rows, layers, top_k].
  void append(std::span<const int32_t> rows, std::vector<int32_t>& choices) const;

 private:
  Backend& backend_;
  int64_t num_layers_;
  int64_t max_rows_;
  int64_t top_k_;
  Tensor ids_;       // I32 [num_layers · max_rows, top_k]
  Tensor host_ids_;  // the same in host memory
};

}  // namespace octet
