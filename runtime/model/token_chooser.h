// TokenChooser: has a backend choose a plan's tokens, and brings its answers to host memory.
#pragma once

#include "kernels/backend.h"

namespace octet {

class TokenChooser {
 public:
  // The backend must outlive the chooser.
  explicit TokenChooser(Backend& backend) : backend_(backend) {}

  // Enqueues the choices from `logits`, F32 [rows, vocab] on the device. The answers, in the batch's order, are there
  // after the next wait, valid until the next call. Allocates only while the largest batch so far grows.
  SampledRows choose(const SamplingBatch& batch, TensorView logits, Stream& stream);

 private:
  bool has_own_memory() const { return backend_.memory_kind() != MemoryKind::kHost; }

  Backend& backend_;
  Tensor answers_;       // I8, of as many SampleSpecs as there have been
  Tensor host_answers_;  // the same in host memory, if the device has memory of its own
};

}  // namespace octet
