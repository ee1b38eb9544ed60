#include "runtime/model/step_graphs.h"

namespace octet {

void StepGraphs::run(const DecodeShape& shape, Stream& stream, const std::function<void()>& enqueue) {
  Graph& graph = graphs_[shape];
  if (!graph.has_run) {
    enqueue();
    graph.has_run = true;
    return;
  }
  if (graph.captured == nullptr) graph.captured = backend_.capture(stream, enqueue);
  graph.captured->replay(stream);
}

}  // namespace octet
