// TokenChooser: has a backend choose a plan's tokens, and brings its answers to host memory.
#pragma once

#include "runtime/model/model_rank.h"

namespace octet {

class TokenChooser {
 public:
  explicit TokenChooser(const ModelRank& rank) : rank_(rank) {}

  // Enqueues the choices from `logits`, F32 [rows, vocab] on the device. The answers, in the batch's order, are there
  // after the next wait, valid until the next call. Allocates only while the largest batch so far grows.
  SampledRows choose(const SamplingBatch& batch, TensorView logits, Stream& stream);

 private:
  ModelRank rank_;
  Tensor answers_;       // I8, of as many SampleSpecs as there have been
  Tensor host_answers_;  // the same in host memory, if the device has memory of its own
};

}  // namespace octet
