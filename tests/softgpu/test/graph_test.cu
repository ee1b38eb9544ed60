// Graphs: capture, replay, nodes; and what is counted of calls and replays.

#include "tests/softgpu/test/arithmetic.cuh"
#include "tests/softgpu/test/check.h"

#include <dlfcn.h>

#include <atomic>
#include <utility>

namespace {

TEST(SoftgpuGraphs, CaptureAndReplay) {
  cudaStream_t s, side;
  cudaEvent_t fork, join;
  CUDA(cudaStreamCreate(&s));
  CUDA(cudaStreamCreate(&side));
  CUDA(cudaEventCreateWithFlags(&fork, cudaEventDisableTiming));
  CUDA(cudaEventCreateWithFlags(&join, cudaEventDisableTiming));
  Array<int> x(std::vector<int>(100, 1)), y(std::vector<int>(100, 0));
  const auto capture = [&](int increment) {
    CUDA(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
    add<<<1, 128, 0, s>>>(x, 100, increment);
    CUDA(cudaEventRecord(fork, s));
    CUDA(cudaStreamWaitEvent(side, fork));
    add<<<1, 128, 0, side>>>(y, 100, 1);
    CUDA(cudaEventRecord(join, side));
    multiply<<<1, 128, 0, s>>>(x, 100, 2);
    CUDA(cudaStreamWaitEvent(s, join));
    cudaStreamCaptureStatus status;
    CUDA(cudaStreamIsCapturing(side, &status));
    EXPECT_EQ(status, cudaStreamCaptureStatusActive);
    cudaGraph_t graph;
    CUDA(cudaStreamEndCapture(s, &graph));
    return graph;
  };
  cudaGraph_t graph = capture(1);
  EXPECT_EQ(x.host()[0], 1);  // nothing ran yet
  cudaGraphExec_t exec;
  CUDA(cudaGraphInstantiate(&exec, graph));
  CUDA(cudaGraphDestroy(graph));
  for (int i = 0; i < 3; ++i) CUDA(cudaGraphLaunch(exec, s));
  CUDA(cudaStreamSynchronize(s));
  EXPECT_TRUE(x.host()[99] == 22 && y.host()[99] == 3);  // ((1+1)*2+1)*2+1)*2

  cudaGraph_t changed = capture(10);
  cudaGraphExecUpdateResultInfo info;
  CUDA(cudaGraphExecUpdate(exec, changed, &info));
  CUDA(cudaGraphLaunch(exec, s));
  CUDA(cudaStreamSynchronize(s));
  EXPECT_EQ(x.host()[0], 64);
  CUDA(cudaGraphDestroy(changed));

  // Another topology is refused.
  CUDA(cudaStreamBeginCapture(s, cudaStreamCaptureModeRelaxed));
  add<<<1, 128, 0, s>>>(x, 100, 1);
  CUDA(cudaStreamEndCapture(s, &graph));
  EXPECT_EQ(cudaGraphExecUpdate(exec, graph, &info), cudaErrorGraphExecUpdateFailure);
  cudaGetLastError();
  CUDA(cudaGraphDestroy(graph));
  CUDA(cudaGraphExecDestroy(exec));
}

TEST(SoftgpuGraphs, CaptureErrors) {
  cudaStream_t s, side;
  cudaEvent_t fork;
  CUDA(cudaStreamCreate(&s));
  CUDA(cudaStreamCreate(&side));
  CUDA(cudaEventCreate(&fork));
  Array<int> x(std::vector<int>(100, 1));
  cudaGraph_t graph;
  // Work forked to another stream and never joined.
  CUDA(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
  CUDA(cudaEventRecord(fork, s));
  CUDA(cudaStreamWaitEvent(side, fork));
  add<<<1, 128, 0, side>>>(x, 100, 1);
  EXPECT_EQ(cudaStreamEndCapture(s, &graph), cudaErrorStreamCaptureUnjoined);
  // Synchronising invalidates the capture.
  CUDA(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
  EXPECT_EQ(cudaStreamSynchronize(s), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(cudaStreamEndCapture(s, &graph), cudaErrorStreamCaptureInvalidated);
  // Allocating is unsafe unless the capture is relaxed.
  int* p;
  CUDA(cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal));
  EXPECT_EQ(cudaMalloc(&p, 4), cudaErrorStreamCaptureUnsupported);
  CUDA(cudaStreamEndCapture(s, &graph));
  cudaGetLastError();
  add<<<1, 128, 0, s>>>(x, 100, 1);
  CUDA(cudaStreamSynchronize(s));
  EXPECT_EQ(x.host()[0], 2);
}

// ---- nodes of graphs ----

// A stream, and a graph of `work` captured from it.
struct Captured {
  template <class Work>
  explicit Captured(Work work) {
    CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    work(stream);
    CUDA(cudaStreamEndCapture(stream, &graph));
    CUDA(cudaGraphInstantiate(&exec, graph));
  }
  ~Captured() {
    CUDA(cudaGraphExecDestroy(exec));
    CUDA(cudaGraphDestroy(graph));
    CUDA(cudaStreamDestroy(stream));
  }
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t exec;
};

TEST(SoftgpuGraphs, KernelNodeParameters) {
  Array<int> x(std::vector<int>(100, 1)), y(std::vector<int>(100, 1));
  const Captured captured([&](cudaStream_t s) {
    CUDA(cudaMemsetAsync(y, 0, 400, s));
    add<<<1, 128, 0, s>>>(x, 100, 3);
  });
  cudaGraphNode_t nodes[2];
  std::size_t count = 2;
  CUDA(cudaGraphGetNodes(captured.graph, nodes, &count));
  ASSERT_EQ(count, 2u);
  cudaGraphNodeType types[2];
  for (int i = 0; i < 2; ++i) CUDA(cudaGraphNodeGetType(nodes[i], &types[i]));
  EXPECT_EQ(types[0], cudaGraphNodeTypeMemset);
  EXPECT_EQ(types[1], cudaGraphNodeTypeKernel);
  cudaKernelNodeParams params;
  EXPECT_EQ(cudaGraphKernelNodeGetParams(nodes[0], &params), cudaErrorInvalidValue);
  cudaGetLastError();
  CUDA(cudaGraphKernelNodeGetParams(nodes[1], &params));
  EXPECT_EQ(params.blockDim.x, 128u);
  EXPECT_EQ(*static_cast<int*>(params.kernelParams[2]), 3);

  int* target = y;
  int n = 50, value = 9;
  void* arguments[] = {&target, &n, &value};
  params.kernelParams = arguments;
  params.blockDim = dim3(64);
  CUDA(cudaGraphExecKernelNodeSetParams(captured.exec, nodes[1], &params));
  value = 1000;  // copied
  CUDA(cudaGraphLaunch(captured.exec, captured.stream));
  CUDA(cudaStreamSynchronize(captured.stream));
  EXPECT_EQ(x.host()[0], 1);
  EXPECT_EQ(y.host()[49], 9);
  EXPECT_EQ(y.host()[50], 0);
}

TEST(SoftgpuGraphs, CaptureInfoNamesTheLastNode) {
  Array<int> x(std::vector<int>(100, 1));
  cudaGraphNode_t node = nullptr;
  const Captured captured([&](cudaStream_t s) {
    add<<<1, 128, 0, s>>>(x, 100, 3);
    add<<<1, 128, 0, s>>>(x, 100, 4);
    cudaStreamCaptureStatus status;
    const cudaGraphNode_t* last;
    std::size_t count;
    CUDA(cudaStreamGetCaptureInfo(s, &status, nullptr, nullptr, &last, nullptr, &count));
    ASSERT_EQ(count, 1u);
    node = last[0];
  });
  cudaKernelNodeParams params;
  CUDA(cudaGraphKernelNodeGetParams(node, &params));
  EXPECT_EQ(*static_cast<int*>(params.kernelParams[2]), 4);
}

// An event recorded as a node belongs to the graph: each launch makes it pending at once, the replay completes it.
TEST(SoftgpuGraphs, ExternalEventInGraph) {
  cudaEvent_t event;
  CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  static std::atomic<bool> go;
  go = false;
  const Captured captured([&](cudaStream_t s) {
    CUDA(cudaLaunchHostFunc(
        s, [](void*) { go.wait(false); }, nullptr));
    CUDA(cudaEventRecordWithFlags(event, s, cudaEventRecordExternal));
  });
  EXPECT_EQ(cudaEventQuery(event), cudaSuccess);
  for (int replay = 0; replay < 2; ++replay) {
    CUDA(cudaGraphLaunch(captured.exec, captured.stream));
    EXPECT_EQ(cudaEventQuery(event), cudaErrorNotReady);
    go = true;
    go.notify_all();
    CUDA(cudaEventSynchronize(event));
    EXPECT_EQ(cudaEventQuery(event), cudaSuccess);
    CUDA(cudaStreamSynchronize(captured.stream));
    go = false;
  }
  CUDA(cudaEventDestroy(event));
}

// ---- counts ----

// How often `what` happened since the last call for it.
class Counter {
 public:
  Counter(const char* stage, const char* what) : stage_(stage), what_(what) { news(); }
  std::pair<unsigned long long, unsigned long long> news() {  // count, bytes
    using Query = unsigned long long (*)(const char*, int, const char*, unsigned long long*);
    static const auto query = reinterpret_cast<Query>(dlsym(RTLD_DEFAULT, "softgpu_count"));
    unsigned long long bytes = 0;
    const auto count = query(stage_, 0, what_, &bytes);
    return {count - std::exchange(count_, count), bytes - std::exchange(bytes_, bytes)};
  }

 private:
  const char *stage_, *what_;
  unsigned long long count_ = 0, bytes_ = 0;
};

TEST(SoftgpuGraphs, CountsTellCallsFromExecutions) {
  Counter launches("called", "kernel"), kernels("executed", "kernel"), graphs("called", "graph"),
      waits("called", "host-wait.stream"), copies("called", "memcpy.HtoD"), copied("executed", "memcpy.HtoD");
  Array<int> x(100);
  std::vector<int> ones(100, 1);
  using Count = std::pair<unsigned long long, unsigned long long>;
  const Captured captured([&](cudaStream_t s) {
    CUDA(cudaMemcpyAsync(x, ones.data(), 400, cudaMemcpyHostToDevice, s));
    for (int i = 0; i < 3; ++i) add<<<1, 128, 0, s>>>(x, 100, i);
  });
  EXPECT_EQ(launches.news(), Count(0, 0));
  for (int i = 0; i < 2; ++i) CUDA(cudaGraphLaunch(captured.exec, captured.stream));
  add<<<1, 128, 0, captured.stream>>>(x, 100, 1);
  CUDA(cudaStreamSynchronize(captured.stream));
  EXPECT_EQ(launches.news(), Count(1, 0));
  EXPECT_EQ(kernels.news(), Count(7, 0));
  EXPECT_EQ(graphs.news(), Count(2, 0));
  EXPECT_EQ(waits.news(), Count(1, 0));
  EXPECT_EQ(copies.news(), Count(0, 0));
  EXPECT_EQ(copied.news(), Count(2, 800));
}

}  // namespace
