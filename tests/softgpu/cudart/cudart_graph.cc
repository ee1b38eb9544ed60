// CUDA runtime: capture and graphs.

#include <algorithm>

#include "tests/softgpu/cudart/cudart_internal.h"
#include "tests/softgpu/cudart/ledger.h"

namespace octet::softgpu {
namespace {

Graph& graph_of(cudaGraph_t handle) {
  if (!handle) throw DeviceFault(cudaErrorInvalidValue, "null graph");
  return *reinterpret_cast<Graph*>(handle);
}
GraphExec& exec_of(cudaGraphExec_t handle) {
  if (!handle) throw DeviceFault(cudaErrorInvalidValue, "null executable graph");
  return *reinterpret_cast<GraphExec*>(handle);
}

GraphNode& node_of(cudaGraphNode_t handle) {
  if (!handle) throw DeviceFault(cudaErrorInvalidValue, "null graph node");
  return *reinterpret_cast<GraphNode*>(handle);
}
cudaGraphNode_t handle_of(GraphNode& node) { return reinterpret_cast<cudaGraphNode_t>(&node); }

// True if every node is an ancestor of (or in) `tail`.
bool all_joined(const Graph& graph, const std::vector<std::size_t>& tail) {
  std::vector<bool> reached(graph.nodes.size(), false);
  std::vector<std::size_t> pending = tail;
  while (!pending.empty()) {
    const std::size_t n = pending.back();
    pending.pop_back();
    if (reached[n]) continue;
    reached[n] = true;
    for (const std::size_t d : graph.nodes[n].dependencies) pending.push_back(d);
  }
  return std::ranges::find(reached, false) == reached.end();
}

// Replaces the arguments, grid and block of a kernel node, or the kernel.
cudaError_t set_parameters(GraphNode& node, const cudaKernelNodeParams& p) {
  const auto& old = node.task.kernel;
  if (!old || !p.kernelParams) return cudaErrorInvalidValue;
  const auto to_dim3 = [](dim3 d) { return Dim3{d.x, d.y, d.z}; };
  node.task = task_of(prepare(
      {p.func, to_dim3(p.gridDim), to_dim3(p.blockDim), p.kernelParams, p.sharedMemBytes, nullptr, old->cooperative},
      old->device));
  return cudaSuccess;
}

}  // namespace
}  // namespace octet::softgpu

using namespace octet::softgpu;

extern "C" {

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  return guarded([&] {
    Stream& stream = stream_of(handle);
    if (&stream == stream.device.legacy.get()) return cudaErrorStreamCaptureUnsupported;
    std::lock_guard lock(stream.device.mutex);
    if (stream.capture) return cudaErrorIllegalState;
    stream.capture = std::make_shared<Capture>();
    stream.capture->mode = mode;
    stream.capture->owner = std::this_thread::get_id();
    stream.capture->origin = &stream;
    stream.capture_tail.clear();
    register_capture(stream.capture, true);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  return guarded([&] {
    *graph = nullptr;
    Stream& stream = stream_of(handle);
    std::lock_guard lock(stream.device.mutex);
    const auto capture = stream.capture;
    if (!capture || capture->origin != &stream) return cudaErrorStreamCaptureUnmatched;
    const auto tail = stream.capture_tail;
    const auto leave = [&](Stream& s) {
      if (s.capture == capture) s.capture = nullptr, s.capture_tail.clear();
    };
    leave(stream);
    for (const auto& s : stream.device.streams) leave(*s);
    register_capture(capture, false);
    capture->ended = true;
    if (capture->invalid) return cudaErrorStreamCaptureInvalidated;
    if (!all_joined(*capture->graph, tail)) return cudaErrorStreamCaptureUnjoined;
    *graph = reinterpret_cast<cudaGraph_t>(capture->graph.release());
    return cudaSuccess;
  });
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
  return guarded([&] {
    Stream& stream = stream_of(handle);
    *status = !stream.capture           ? cudaStreamCaptureStatusNone
              : stream.capture->invalid ? cudaStreamCaptureStatusInvalidated
                                        : cudaStreamCaptureStatusActive;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamGetCaptureInfo(cudaStream_t handle, cudaStreamCaptureStatus* status, unsigned long long* id,
                                     cudaGraph_t* graph, const cudaGraphNode_t** dependencies,
                                     const cudaGraphEdgeData** edges, std::size_t* count) {
  const cudaError_t error = cudaStreamIsCapturing(handle, status);
  if (error != cudaSuccess) return error;
  return guarded([&] {
    thread_local std::vector<cudaGraphNode_t> tail;  // valid until this thread's next call
    tail.clear();
    Stream& stream = stream_of(handle);
    std::lock_guard lock(stream.device.mutex);
    const auto capture = stream.capture;
    if (capture)
      for (const std::size_t n : stream.capture_tail) tail.push_back(handle_of(capture->graph->nodes[n]));
    if (id) *id = u64(capture.get());
    if (graph) *graph = capture ? reinterpret_cast<cudaGraph_t>(capture->graph.get()) : nullptr;
    if (dependencies) *dependencies = tail.data();
    if (edges) *edges = nullptr;
    if (count) *count = tail.size();
    return cudaSuccess;
  });
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(*mode, thread_capture_mode());
  return cudaSuccess;
}

cudaError_t cudaGraphCreate(cudaGraph_t* graph, unsigned) {
  return guarded([&] { return *graph = reinterpret_cast<cudaGraph_t>(new Graph), cudaSuccess; });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return guarded([&] { return delete &graph_of(graph), cudaSuccess; });
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, std::size_t* count) {
  return guarded([&] {
    Graph& g = graph_of(graph);
    if (nodes)
      for (std::size_t i = 0; i < std::min(*count, g.nodes.size()); ++i) nodes[i] = handle_of(g.nodes[i]);
    *count = g.nodes.size();
    return cudaSuccess;
  });
}

// What NCCL and cuBLAS captured are kernels, too, but not ones whose parameters can be read.
cudaError_t cudaGraphNodeGetType(cudaGraphNode_t handle, cudaGraphNodeType* type) {
  return guarded([&] {
    const std::string_view kind = node_of(handle).task.kind();
    *type = kind.starts_with("memcpy") ? cudaGraphNodeTypeMemcpy
            : kind == "memset"         ? cudaGraphNodeTypeMemset
            : kind == "host-function"  ? cudaGraphNodeTypeHost
            : kind == "event-record"   ? cudaGraphNodeTypeEventRecord
            : kind == "free"           ? cudaGraphNodeTypeMemFree
                                       : cudaGraphNodeTypeKernel;
    return cudaSuccess;
  });
}

// The parameter pointers stay valid until the node's parameters are set or the graph is destroyed.
cudaError_t cudaGraphKernelNodeGetParams(cudaGraphNode_t handle, cudaKernelNodeParams* params) {
  return guarded([&] {
    const auto& kernel = node_of(handle).task.kernel;
    if (!kernel) return cudaErrorInvalidValue;
    const auto to_dim3 = [](const Dim3& d) { return dim3(d.x, d.y, d.z); };
    *params = {const_cast<void*>(kernel->function),
               to_dim3(kernel->grid),
               to_dim3(kernel->block),
               kernel->shared_bytes,
               kernel->argument_pointers.data(),
               nullptr};
    return cudaSuccess;
  });
}

cudaError_t cudaGraphKernelNodeSetParams(cudaGraphNode_t handle, const cudaKernelNodeParams* params) {
  return guarded([&] { return set_parameters(node_of(handle), *params); });
}

cudaError_t cudaGraphExecKernelNodeSetParams(cudaGraphExec_t exec, cudaGraphNode_t handle,
                                             const cudaKernelNodeParams* params) {
  return guarded([&] {
    auto& nodes = exec_of(exec).nodes;
    const GraphNode& node = node_of(handle);
    if (node.index >= nodes.size() || nodes[node.index].task.what != node.task.what) return cudaErrorInvalidValue;
    return set_parameters(nodes[node.index], *params);
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  return guarded(
      [&] { return *exec = reinterpret_cast<cudaGraphExec_t>(new GraphExec{graph_of(graph).nodes}), cudaSuccess; });
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long flags) {
  return cudaGraphInstantiate(exec, graph, flags);
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  return guarded([&] { return delete &exec_of(exec), cudaSuccess; });
}
cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) { return cudaSuccess; }

cudaError_t cudaGraphLaunch(cudaGraphExec_t handle, cudaStream_t stream_handle) {
  return guarded([&] {
    // A copy: the executable graph may be updated or destroyed while it runs.
    auto nodes = std::make_shared<std::deque<GraphNode>>(exec_of(handle).nodes);
    std::vector<Completed> events;
    for (GraphNode& node : *nodes) {
      if (!node.task.event) continue;
      events.push_back(std::make_shared<Completion>());
      node.task.work = [done = events.back()] { done->finish(); };
      std::lock_guard lock(node.task.event->mutex);
      node.task.event->capture = nullptr;
      node.task.event->recorded = events.back();
    }
    Stream& stream = stream_of(stream_handle);
    const auto replay = [nodes, device = stream.device.index] {
      for (const GraphNode& node : *nodes) {
        if (node.task.work) node.task.work();
        record(api::Stage::kExecuted, device, node.task.kind(), node.task.bytes);
      }
    };
    const cudaError_t error = stream.device.enqueue(stream, {"graph", replay}, {}, nullptr, events);
    if (error != cudaSuccess)
      for (const Completed& event : events) event->finish();
    return error;
  });
}

// Succeeds if the new graph has the same operations in the same order and with the same dependencies.
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t handle, cudaGraph_t graph, cudaGraphExecUpdateResultInfo* result) {
  return guarded([&] {
    GraphExec& exec = exec_of(handle);
    const Graph& update = graph_of(graph);
    const bool same = std::ranges::equal(exec.nodes, update.nodes, [](const GraphNode& a, const GraphNode& b) {
      return a.task.what == b.task.what && a.dependencies == b.dependencies;
    });
    if (result) {
      *result = {};
      result->result = same ? cudaGraphExecUpdateSuccess : cudaGraphExecUpdateErrorTopologyChanged;
    }
    if (!same) return cudaErrorGraphExecUpdateFailure;
    exec.nodes = update.nodes;
    return cudaSuccess;
  });
}

}  // extern "C"
