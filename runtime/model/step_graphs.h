// StepGraphs: the captured decode steps of a model, one for each shape it has met.
#pragma once

#include <functional>
#include <map>
#include <memory>

#include "kernels/backend.h"
#include "runtime/model/decode_shape.h"

namespace octet {

class StepGraphs {
 public:
  // REQUIRES: the backend supports capture, and outlives the graphs.
  explicit StepGraphs(Backend& backend) : backend_(backend) {}

  // Runs the step that `enqueue` enqueues: itself the first time that a shape is met, for then memory is still
  // allocated; captured and replayed the second time; only replayed from then on. `enqueue` reads nothing that changes
  // from step to step but device memory.
  void run(const DecodeShape& shape, Stream& stream, const std::function<void()>& enqueue);

 private:
  struct Graph {
    bool has_run = false;
    std::unique_ptr<CapturedStep> captured;
  };

  Backend& backend_;
  std::map<DecodeShape, Graph> graphs_;
};

}  // namespace octet
