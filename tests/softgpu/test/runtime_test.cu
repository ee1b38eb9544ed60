// Streams, events, copies.

#include "tests/softgpu/test/arithmetic.cuh"
#include "tests/softgpu/test/check.h"

#include <atomic>
#include <chrono>
#include <thread>

namespace {

void nap_for(void* milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(std::size_t(milliseconds))); }

TEST(SoftgpuRuntime, StreamsRunAsynchronously) {
  cudaStream_t s;
  CUDA(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
  Array<int> x(std::vector<int>(100, 1));
  static std::atomic<bool> go = false;
  CUDA(cudaLaunchHostFunc(
      s, [](void*) { go.wait(false); }, nullptr));
  add<<<1, 128, 0, s>>>(x, 100, 2);
  EXPECT_EQ(cudaStreamQuery(s), cudaErrorNotReady);
  go = true;
  go.notify_all();
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
  EXPECT_GE(ms, 29);
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

}  // namespace
