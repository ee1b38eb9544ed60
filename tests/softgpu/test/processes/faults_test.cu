// Errors that softgpu must find. Each case runs in a process of its own, with its own environment.

#undef NDEBUG  // device assertions are tested
#include <cassert>

#include <cublas_v2.h>

#include "tests/softgpu/test/check.h"
#include "tests/softgpu/test/processes/children.h"

namespace {

// Runs `body` in a child process and returns what it prints, with the device's error at the end.
std::string in_child(const Environment& environment, void (*body)()) {
  return run_children(1, environment,
                      [body](int) {
                        body();
                        const cudaError_t error = cudaDeviceSynchronize();
                        std::printf("RESULT %s\n", cudaGetErrorName(error));
                      })
      .front()
      .output;
}

__global__ void store(int* p, int n) { p[blockIdx.x * blockDim.x + threadIdx.x + n] = 1; }
__global__ void load(const int* p, int* out) { out[threadIdx.x] = p[threadIdx.x]; }

TEST(SoftgpuFaults, OutOfBoundsWrite) {
  const auto output = in_child({}, [] {
    Array<int>* a = new Array<int>(100);
    store<<<2, 64>>>(*a, 0);
  });
  EXPECT_CONTAINS(output, "RESULT cudaErrorIllegalAddress");
  EXPECT_CONTAINS(output, "illegal 4-byte global write");
  EXPECT_CONTAINS(output, "0 bytes past the end of the 400-byte allocation");
  EXPECT_CONTAINS(output, "store(int*, int)'");
  EXPECT_CONTAINS(output, "thread (36,0,0) of block (1,0,0)");
  EXPECT_CONTAINS(output, "faults_test.cu:");
}

TEST(SoftgpuFaults, NullPointer) {
  const auto output = in_child({}, [] { store<<<1, 1>>>(nullptr, 0); });
  EXPECT_CONTAINS(output, "RESULT cudaErrorIllegalAddress");
  EXPECT_CONTAINS(output, "null pointer?");
}

TEST(SoftgpuFaults, HostPointerInKernel) {
  const auto output = in_child({}, [] {
    static int host[32];
    store<<<1, 1>>>(host, 0);
  });
  EXPECT_CONTAINS(output, "RESULT cudaErrorIllegalAddress");
}

TEST(SoftgpuFaults, UseAfterFree) {
  const auto output = in_child({}, [] {
    int* p;
    CUDA(cudaMalloc(&p, 1024));
    CUDA(cudaFree(p));
    store<<<1, 1>>>(p, 0);
  });
  EXPECT_CONTAINS(output, "RESULT cudaErrorIllegalAddress");
}

TEST(SoftgpuFaults, ErrorIsSticky) {
  const auto output = in_child({}, [] {
    store<<<1, 1>>>(nullptr, 0);
    cudaDeviceSynchronize();
    int* p;
    std::printf("MALLOC %s\n", cudaGetErrorName(cudaMalloc(&p, 4)));
  });
  EXPECT_CONTAINS(output, "MALLOC cudaErrorIllegalAddress");
}

__global__ void misaligned(char* p) { *reinterpret_cast<int*>(p + 2) = 1; }
TEST(SoftgpuFaults, MisalignedAccess) {
  const auto output = in_child({}, [] {
    char* p;
    CUDA(cudaMalloc(&p, 64));
    misaligned<<<1, 1>>>(p);
  });
  EXPECT_CONTAINS(output, "RESULT cudaErrorMisalignedAddress");
}

TEST(SoftgpuFaults, MisalignedMatrixOfAGroupedProduct) {
  const auto output = in_child({}, [] {
    char* memory;
    CUDA(cudaMalloc(&memory, 1024));
    CUDA(cudaMemset(memory, 0, 1024));
    const auto* addresses = new Array<void*>(std::vector<void*>{memory, memory + 200, memory + 512});
    cublasHandle_t handle;
    cublasCreate(&handle);
    const cublasOperation_t none = CUBLAS_OP_N;
    const int size = 8, count = 1;
    const float one = 1, zero = 0;
    cublasGemmGroupedBatchedEx(handle, &none, &none, &size, &size, &size, &one, addresses->get(), CUDA_R_16F, &size,
                               addresses->get() + 1, CUDA_R_16F, &size, &zero, addresses->get() + 2, CUDA_R_16F, &size,
                               1, &count, CUBLAS_COMPUTE_32F);
  });
  EXPECT_CONTAINS(output, "RESULT cudaErrorMisalignedAddress");
  EXPECT_CONTAINS(output, "multiple of 16 bytes");
}

__global__ void shared_overrun(int* out, int n) {
  extern __shared__ int buffer[];
  buffer[threadIdx.x + n] = 1;
  __syncthreads();
  out[threadIdx.x] = buffer[threadIdx.x];
}
TEST(SoftgpuFaults, SharedOutOfBounds) {
  const auto output = in_child({}, [] {
    int* p;
    CUDA(cudaMalloc(&p, 256));
    shared_overrun<<<1, 64, 64 * 4>>>(p, 1);
  });
  EXPECT_CONTAINS(output, "RESULT cudaErrorIllegalAddress");
  EXPECT_CONTAINS(output, "illegal 4-byte shared write at offset 256");
}

// ---- races ----

__global__ void neighbour(int* out, bool wait) {
  __shared__ int buffer[128];
  buffer[threadIdx.x] = threadIdx.x;
  if (wait) __syncthreads();
  out[threadIdx.x] = buffer[(threadIdx.x + 32) % 128];
}
void launch_neighbour(bool wait) {
  int* p;
  CUDA(cudaMalloc(&p, 512));
  neighbour<<<1, 128>>>(p, wait);
}
TEST(SoftgpuFaults, RaceBetweenWarps) {
  EXPECT_CONTAINS(in_child({{"SOFTGPU_RACECHECK", "1"}}, [] { launch_neighbour(false); }), "shared memory race");
  EXPECT_CONTAINS(in_child({{"SOFTGPU_RACECHECK", "1"}}, [] { launch_neighbour(true); }), "RESULT cudaSuccess");
  EXPECT_CONTAINS(in_child({}, [] { launch_neighbour(false); }), "RESULT cudaSuccess");
}

__global__ void neighbour_lane(int* out, bool wait) {
  __shared__ int buffer[32];
  buffer[threadIdx.x] = threadIdx.x;
  if (wait) __syncwarp();
  out[threadIdx.x] = buffer[(threadIdx.x + 1) % 32];
}
TEST(SoftgpuFaults, RaceWithinWarp) {
  const auto launch = [](bool wait) {
    int* p;
    CUDA(cudaMalloc(&p, 512));
    neighbour_lane<<<1, 32>>>(p, wait);
  };
  static const auto with = launch;
  EXPECT_CONTAINS(in_child({{"SOFTGPU_RACECHECK", "2"}}, [] { with(false); }), "shared memory race");
  EXPECT_CONTAINS(in_child({{"SOFTGPU_RACECHECK", "2"}}, [] { with(true); }), "RESULT cudaSuccess");
  EXPECT_CONTAINS(in_child({{"SOFTGPU_RACECHECK", "1"}}, [] { with(false); }), "RESULT cudaSuccess");
}

// Producer and consumer warps with a named barrier: correct, and must not be reported.
__global__ void named_barrier(int* out) {
  __shared__ int buffer[32];
  if (threadIdx.x < 32) {
    buffer[threadIdx.x] = threadIdx.x * 3;
    asm volatile("bar.arrive 1, 64;" ::: "memory");
  } else {
    asm volatile("bar.sync 1, 64;" ::: "memory");
    out[threadIdx.x - 32] = buffer[threadIdx.x - 32];
  }
}
TEST(SoftgpuFaults, NamedBarrierOrders) {
  const auto output = in_child({{"SOFTGPU_RACECHECK", "2"}}, [] {
    Array<int> out(32);
    named_barrier<<<1, 64>>>(out);
    std::printf("VALUE %d\n", out.host()[7]);
  });
  EXPECT_CONTAINS(output, "VALUE 21");
  EXPECT_CONTAINS(output, "RESULT cudaSuccess");
}

// ---- uninitialised memory ----

TEST(SoftgpuFaults, UninitialisedRead) {
  const auto run = [] {
    int *a, *b;
    CUDA(cudaMalloc(&a, 128));
    CUDA(cudaMalloc(&b, 128));
    CUDA(cudaMemset(a, 0, 64));
    load<<<1, 32>>>(a, b);
  };
  const auto output = in_child({{"SOFTGPU_INITCHECK", "1"}}, run);
  EXPECT_CONTAINS(output, "read of uninitialised memory");
  EXPECT_CONTAINS(output, "64 bytes into the 128-byte allocation");
  EXPECT_CONTAINS(output, "thread (16,0,0)");
  EXPECT_CONTAINS(in_child({}, run), "RESULT cudaSuccess");
}

TEST(SoftgpuFaults, InitialisedRead) {
  const auto output = in_child({{"SOFTGPU_INITCHECK", "1"}}, [] {
    int *a, *b, *c;
    CUDA(cudaMalloc(&a, 128));
    CUDA(cudaMalloc(&b, 128));
    CUDA(cudaMalloc(&c, 128));
    store<<<1, 32>>>(a, 0);
    load<<<1, 32>>>(a, b);
    CUDA(cudaMemcpy(c, b, 128, cudaMemcpyDeviceToDevice));
    load<<<1, 32>>>(c, a);
  });
  EXPECT_CONTAINS(output, "RESULT cudaSuccess");
}

// ---- synchronisation mistakes ----

__global__ void half_barrier(int n) {
  if (threadIdx.x < n)
    __syncthreads();
  else
    asm volatile("bar.sync 1;");
}
TEST(SoftgpuFaults, BarrierDeadlock) {
  const auto output = in_child({}, [] { half_barrier<<<1, 64>>>(32); });
  EXPECT_CONTAINS(output, "RESULT cudaErrorLaunchFailure");
  EXPECT_CONTAINS(output, "deadlock: every warp of the block waits");
}
TEST(SoftgpuFaults, DivergentBarrier) {
  const auto output = in_child({}, [] { half_barrier<<<1, 32>>>(16); });
  EXPECT_CONTAINS(output, "lanes of a warp wait for each other");
}

__global__ void wrong_mask(int* out) { out[threadIdx.x] = __shfl_sync(0x0000ffff, threadIdx.x, 0); }
TEST(SoftgpuFaults, ShuffleOutsideMask) {
  const auto output = in_child({}, [] {
    int* p;
    CUDA(cudaMalloc(&p, 128));
    wrong_mask<<<1, 32>>>(p);
  });
  EXPECT_CONTAINS(output, "is not in the member mask 0x0000ffff");
}

__global__ void forever(volatile int* p) {
  while (*p == 0) {
  }
}
TEST(SoftgpuFaults, EndlessKernel) {
  const auto output = in_child({{"SOFTGPU_TIMEOUT_S", "1"}}, [] {
    int* p;
    CUDA(cudaMalloc(&p, 4));
    CUDA(cudaMemset(p, 0, 4));
    forever<<<1, 32>>>(p);
  });
  EXPECT_CONTAINS(output, "RESULT cudaErrorLaunchTimeout");
}

__global__ void asserts(int n) {
  if (threadIdx.x == 5) asm volatile("trap;");
  (void)n;
}
TEST(SoftgpuFaults, Trap) {
  EXPECT_CONTAINS(in_child({}, [] { asserts<<<1, 32>>>(1); }), "RESULT cudaErrorLaunchFailure");
}

__global__ void assertion(int n) { assert(int(threadIdx.x) < n); }
TEST(SoftgpuFaults, DeviceAssert) {
  const auto output = in_child({}, [] { assertion<<<1, 32>>>(9); });
  EXPECT_CONTAINS(output, "RESULT cudaErrorAssert");
  EXPECT_CONTAINS(output, "device assertion `int(threadIdx.x) < n' failed");
}

__global__ void exotic(unsigned* p) { asm volatile("vadd.u32.u32.u32 %0, %0, %0;" : "+r"(p[0])); }
TEST(SoftgpuFaults, UnknownInstruction) {
  const auto output = in_child({}, [] {
    exotic<<<1, 32>>>(nullptr);
    std::printf("LAUNCH %s\n", cudaGetErrorName(cudaGetLastError()));
  });
  EXPECT_CONTAINS(output, "unsupported PTX (unknown instruction)");
  EXPECT_CONTAINS(output, "vadd.u32.u32.u32");
  EXPECT_CONTAINS(output, "LAUNCH cudaErrorInvalidPtx");
}

// ---- API misuse ----

TEST(SoftgpuFaults, LaunchLimits) {
  const auto output = in_child({}, [] {
    store<<<1, 2000>>>(nullptr, 0);
    std::printf("BLOCK %s\n", cudaGetErrorName(cudaGetLastError()));
    store<<<1, 32, 60000>>>(nullptr, 0);
    std::printf("SHARED %s\n", cudaGetErrorName(cudaGetLastError()));
    CUDA(cudaFuncSetAttribute(store, cudaFuncAttributeMaxDynamicSharedMemorySize, 60000));
    int* p;
    CUDA(cudaMalloc(&p, 128));
    store<<<1, 32, 60000>>>(p, 0);
    std::printf("OPTIN %s\n", cudaGetErrorName(cudaGetLastError()));
    std::printf("COPY %s\n", cudaGetErrorName(cudaMemset(p, 0, 129)));
  });
  EXPECT_CONTAINS(output, "BLOCK cudaErrorInvalidConfiguration");
  EXPECT_CONTAINS(output, "SHARED cudaErrorInvalidValue");
  EXPECT_CONTAINS(output, "OPTIN cudaSuccess");
  EXPECT_CONTAINS(output, "COPY cudaErrorInvalidValue");
  EXPECT_CONTAINS(output, "RESULT cudaSuccess");
}

TEST(SoftgpuFaults, OutOfMemory) {
  const auto output = in_child({{"SOFTGPU_MEMORY_MB", "64"}}, [] {
    std::size_t free, total;
    CUDA(cudaMemGetInfo(&free, &total));
    std::printf("TOTAL %zu\n", total >> 20);
    void *p, *q;
    CUDA(cudaMalloc(&p, 40 << 20));
    std::printf("SECOND %s\n", cudaGetErrorName(cudaMalloc(&q, 40 << 20)));
    CUDA(cudaFree(p));
    std::printf("THIRD %s\n", cudaGetErrorName(cudaMalloc(&q, 40 << 20)));
  });
  EXPECT_CONTAINS(output, "TOTAL 64");
  EXPECT_CONTAINS(output, "SECOND cudaErrorMemoryAllocation");
  EXPECT_CONTAINS(output, "THIRD cudaSuccess");
}

TEST(SoftgpuFaults, HostDereferenceCrashes) {
  const auto output = in_child({}, [] {
    int* p;
    CUDA(cudaMalloc(&p, 128));
    std::printf("BEFORE\n");
    std::fflush(stdout);
    *p = 1;
    std::printf("AFTER\n");
  });
  EXPECT_CONTAINS(output, "BEFORE");
  EXPECT_EQ(output.find("AFTER"), std::string::npos);
}

}  // namespace
