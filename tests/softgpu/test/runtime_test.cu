// Streams, events, graphs, copies.

#include "tests/softgpu/test/check.h"

#include <dlfcn.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

namespace {

__global__ void add(int* x, int n, int value) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] += value;
}
__global__ void multiply(int* x, int n, int value) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] *= value;
}

void nap_for(void* milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(std::size_t(milliseconds))); }

TEST(SoftgpuRuntime, StreamsRunAsynchronously) {
  cudaStream_t s;
  CUDA(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
  Array<int> x(std::vector<int>(100, 1));
  CUDA(cudaLaunchHostFunc(s, nap_for, reinterpret_cast<void*>(50)));
  add<<<1, 128, 0, s>>>(x, 100, 2);
  EXPECT_EQ(cudaStreamQuery(s), cudaErrorNotReady);
  CUDA(cudaStreamSynchronize(s));
  EXPECT_EQ(cudaStreamQuery(s), cudaSuccess);
  EXPECT_EQ(x.host()[99], 3);
  CUDA(cudaStreamDestroy(s));
}

TEST(SoftgpuRuntime, EventsOrderStreams) {
  cudaStream_t a, b;
  cudaEvent_t begin, end;
  CUDA(cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking));
  CUDA(cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking));
  CUDA(cudaEventCreate(&begin));
  CUDA(cudaEventCreate(&end));
  Array<int> x(std::vector<int>(100, 1));
  CUDA(cudaEventRecord(begin, a));
  CUDA(cudaLaunchHostFunc(a, nap_for, reinterpret_cast<void*>(30)));
  add<<<1, 128, 0, a>>>(x, 100, 4);
  CUDA(cudaEventRecord(end, a));
  CUDA(cudaStreamWaitEvent(b, end));
  multiply<<<1, 128, 0, b>>>(x, 100, 10);
  CUDA(cudaStreamSynchronize(b));
  EXPECT_EQ(x.host()[0], 50);
  float ms = 0;
  CUDA(cudaEventElapsedTime(&ms, begin, end));
  EXPECT_TRUE(ms >= 29 && ms < 5000);
  CUDA(cudaEventDestroy(begin));
  CUDA(cudaEventDestroy(end));
  CUDA(cudaStreamDestroy(a));
  CUDA(cudaStreamDestroy(b));
}

TEST(SoftgpuRuntime, LegacyStreamWaitsForBlockingStreams) {
  cudaStream_t s;
  CUDA(cudaStreamCreate(&s));
  Array<int> x(std::vector<int>(10, 1));
  CUDA(cudaLaunchHostFunc(s, nap_for, reinterpret_cast<void*>(30)));
  add<<<1, 32, 0, s>>>(x, 10, 1);
  multiply<<<1, 32>>>(x, 10, 7);   // legacy stream: after s
  add<<<1, 32, 0, s>>>(x, 10, 1);  // after the legacy stream
  CUDA(cudaStreamSynchronize(s));
  EXPECT_EQ(x.host()[0], 15);
  CUDA(cudaStreamDestroy(s));
}

TEST(SoftgpuRuntime, Copies) {
  std::vector<int> in(64);
  for (int i = 0; i < 64; ++i) in[i] = i;
  int* device;
  std::size_t pitch;
  CUDA(cudaMallocPitch(&device, &pitch, 10 * sizeof(int), 4));
  CUDA(cudaMemcpy2D(device, pitch, in.data(), 16 * sizeof(int), 10 * sizeof(int), 4, cudaMemcpyHostToDevice));
  std::vector<int> out(40, -1);
  CUDA(cudaMemcpy2D(out.data(), 40, device, pitch, 40, 4, cudaMemcpyDeviceToHost));
  for (int r = 0; r < 4; ++r)
    for (int c = 0; c < 10; ++c) EXPECT_EQ(out[r * 10 + c], r * 16 + c);
  CUDA(cudaFree(device));

  int *pinned, *mapped;
  CUDA(cudaMallocHost(&pinned, 256));
  pinned[5] = 41;
  add<<<1, 64>>>(pinned, 64, 1);  // kernels can use pinned memory
  CUDA(cudaDeviceSynchronize());
  EXPECT_EQ(pinned[5], 42);
  CUDA(cudaHostGetDevicePointer(&mapped, pinned, 0));
  cudaPointerAttributes attributes;
  CUDA(cudaPointerGetAttributes(&attributes, mapped));
  EXPECT_EQ(attributes.type, cudaMemoryTypeHost);
  CUDA(cudaPointerGetAttributes(&attributes, in.data()));
  EXPECT_EQ(attributes.type, cudaMemoryTypeUnregistered);
  CUDA(cudaFreeHost(pinned));

  int* managed;
  CUDA(cudaMallocManaged(&managed, 64));
  managed[3] = 8;
  multiply<<<1, 16>>>(managed, 16, 3);
  CUDA(cudaDeviceSynchronize());
  EXPECT_EQ(managed[3], 24);
  CUDA(cudaFree(managed));
}

TEST(SoftgpuRuntime, GraphCaptureAndReplay) {
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

TEST(SoftgpuRuntime, GraphCaptureErrors) {
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

TEST(SoftgpuRuntime, LaunchWithAttributes) {
  Array<int> x(std::vector<int>(64, 1));
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(2);
  config.blockDim = dim3(32);
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &attribute;
  config.numAttrs = 1;
  CUDA(cudaLaunchKernelEx(&config, add, x.get(), 64, 5));
  EXPECT_EQ(x.host()[63], 6);
}

TEST(SoftgpuRuntime, DeviceQueries) {
  int n, value;
  CUDA(cudaGetDeviceCount(&n));
  EXPECT_TRUE(n >= 1);
  cudaDeviceProp properties;
  CUDA(cudaGetDeviceProperties(&properties, 0));
  EXPECT_TRUE(properties.major >= 8 && properties.warpSize == 32);
  CUDA(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0));
  EXPECT_EQ(value, properties.multiProcessorCount);
  int blocks;
  CUDA(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, add, 256, 0));
  EXPECT_EQ(blocks, 8);
  int grid, block;
  CUDA(cudaOccupancyMaxPotentialBlockSize(&grid, &block, add));
  EXPECT_EQ(block, 1024);
  cudaFuncAttributes attributes;
  CUDA(cudaFuncGetAttributes(&attributes, add));
  EXPECT_EQ(attributes.maxThreadsPerBlock, 1024);
  EXPECT_EQ(cudaSetDevice(99), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

TEST(SoftgpuRuntime, StreamOrderedAllocation) {
  cudaStream_t s;
  CUDA(cudaStreamCreate(&s));
  int *p, host[4] = {1, 2, 3, 4};
  CUDA(cudaMallocAsync(&p, sizeof host, s));
  CUDA(cudaMemcpyAsync(p, host, sizeof host, cudaMemcpyHostToDevice, s));
  add<<<1, 4, 0, s>>>(p, 4, 10);
  CUDA(cudaMemcpyAsync(host, p, sizeof host, cudaMemcpyDeviceToHost, s));
  CUDA(cudaFreeAsync(p, s));
  CUDA(cudaStreamSynchronize(s));
  EXPECT_EQ(host[3], 14);
}

TEST(SoftgpuRuntime, RegisteredHostMemory) {
  std::vector<int> host(1000, 1);
  CUDA(cudaHostRegister(host.data(), 4000, cudaHostRegisterDefault));
  EXPECT_EQ(cudaHostRegister(host.data(), 4000, cudaHostRegisterDefault), cudaErrorHostMemoryAlreadyRegistered);
  cudaGetLastError();
  cudaStream_t s;
  CUDA(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
  Array<int> x(1000);
  CUDA(cudaMemcpyAsync(x, host.data(), 4000, cudaMemcpyHostToDevice, s));
  add<<<8, 128, 0, s>>>(x, 1000, 6);
  CUDA(cudaMemcpyAsync(host.data(), x, 4000, cudaMemcpyDeviceToHost, s));
  CUDA(cudaStreamSynchronize(s));
  EXPECT_EQ(host[999], 7);
  CUDA(cudaHostUnregister(host.data()));
  EXPECT_EQ(cudaHostUnregister(host.data()), cudaErrorHostMemoryNotRegistered);
  cudaGetLastError();
  CUDA(cudaStreamDestroy(s));
}

TEST(SoftgpuRuntime, FreeMemoryFollowsAllocations) {
  std::size_t before, during, after, total;
  CUDA(cudaMemGetInfo(&before, &total));
  {
    Array<char> x(10 << 20);
    CUDA(cudaMemGetInfo(&during, &total));
  }
  CUDA(cudaMemGetInfo(&after, &total));
  EXPECT_LE(during + (10 << 20), before);
  EXPECT_EQ(after, before);
  EXPECT_LE(before, total);
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

TEST(SoftgpuRuntime, KernelNodeParameters) {
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

TEST(SoftgpuRuntime, CaptureInfoNamesTheLastNode) {
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
TEST(SoftgpuRuntime, ExternalEventInGraph) {
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

TEST(SoftgpuRuntime, CountsTellCallsFromExecutions) {
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
