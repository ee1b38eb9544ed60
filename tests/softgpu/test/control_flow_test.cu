// Divergence, calls and warp-synchronous instructions: what lanes of a warp do apart and together.

#include "tests/softgpu/test/check.h"

namespace {

__host__ __device__ int collatz(int x) {
  int steps = 0;
  while (x != 1) {
    if (x % 2) {
      if (x > 100000) break;
      x = 3 * x + 1;
    } else {
      x /= 2;
    }
    if (++steps > 500) return -1;
  }
  return steps;
}
__global__ void divergent(int* out, int* converged) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  out[i] = collatz(i + 1);
  // All lanes are together again here.
  converged[i] = __popc(__activemask());
}

TEST(SoftgpuKernels, DivergenceAndReconvergence) {
  const int n = 512;
  Array<int> out(n), converged(n);
  divergent<<<4, 128>>>(out, converged);
  const auto y = out.host(), c = converged.host();
  for (int i = 0; i < n; ++i) {
    EXPECT_EQ(y[i], collatz(i + 1));
    EXPECT_EQ(c[i], 32);
  }
}

__host__ __device__ int choose(int what, int x) {
  switch (what) {
    case 0:
      return x + 1;
    case 1:
      return x * 3;
    case 2:
      return x - 7;
    case 3:
      return x ^ 5;
    case 4:
      return x / 7;
    case 5:
      return x % 11;
    case 6:
      return -x;
    default:
      return 0;
  }
}
__global__ void switches(const int* what, int* x) { x[threadIdx.x] = choose(what[threadIdx.x], x[threadIdx.x]); }

TEST(SoftgpuKernels, SwitchStatement) {
  std::vector<int> what(256), x(256);
  for (int i = 0; i < 256; ++i) what[i] = (i * 7) % 9, x[i] = i * i - 1000;
  Array<int> dw(what), dx(x);
  switches<<<1, 256>>>(dw, dx);
  const auto y = dx.host();
  for (int i = 0; i < 256; ++i) EXPECT_EQ(y[i], choose(what[i], x[i]));
}

__device__ __noinline__ int fibonacci(int n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }
struct Vector3 {
  float x, y, z;
};
__device__ __noinline__ Vector3 cross(Vector3 a, Vector3 b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
__global__ void calls(int* out, Vector3 a, Vector3* v) {
  out[threadIdx.x] = threadIdx.x % 3 ? fibonacci(threadIdx.x % 12) : -1;
  v[threadIdx.x] = cross(a, v[threadIdx.x]);
}

TEST(SoftgpuKernels, DeviceFunctions) {
  Array<int> out(64);
  Array<Vector3> v(std::vector<Vector3>(64, Vector3{1, 2, 3}));
  calls<<<1, 64>>>(out, Vector3{4, 5, 6}, v);
  CUDA(cudaDeviceSynchronize());
  const int fib[] = {0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89};
  const auto y = out.host();
  for (int i = 0; i < 64; ++i) EXPECT_EQ(y[i], (i % 3 ? fib[i % 12] : -1));
  EXPECT_TRUE(v.host()[5].x == 3 && v.host()[5].y == -6 && v.host()[5].z == 3);
}

// Lanes of one warp contend for a lock: needs independent thread scheduling.
__global__ void spin_lock(int* lock, int* value) {
  while (atomicCAS(lock, 0, 1) != 0) {
  }
  const int v = *reinterpret_cast<volatile int*>(value);
  *reinterpret_cast<volatile int*>(value) = v + 1;
  __threadfence();
  atomicExch(lock, 0);
}

TEST(SoftgpuKernels, SpinLockWithinWarp) {
  Array<int> lock(std::vector<int>{0}), value(std::vector<int>{0});
  spin_lock<<<2, 64>>>(lock, value);
  EXPECT_EQ(value.host()[0], 128);
}

// Lane 0 waits for a value that the other lanes compute in a long loop behind the wait.
__global__ void wait_for_siblings(volatile int* flag, int* out) {
  if (threadIdx.x == 0)
    while (*flag == 0) {
    }
  if (threadIdx.x != 0) {
    int sum = 0;
    for (int i = 0; i < 500; ++i) sum += *flag + i;
    out[threadIdx.x] = sum;
    if (threadIdx.x == 31) *flag = 1;
  }
  __syncwarp();
  if (threadIdx.x == 0) out[0] = *flag;
}

TEST(SoftgpuKernels, IndependentThreadScheduling) {
  Array<int> flag(std::vector<int>{0}), out(32);
  wait_for_siblings<<<1, 32>>>(flag, out);
  EXPECT_TRUE(out.host()[0] == 1 && out.host()[31] == 124750);
}

struct Table {
  int values[16];
};
__global__ void grid_constant(const __grid_constant__ Table table, int* out, int n) {
  out[threadIdx.x] = table.values[(threadIdx.x * 7 + n) % 16];
}

TEST(SoftgpuKernels, GridConstantParameter) {
  Table table;
  for (int i = 0; i < 16; ++i) table.values[i] = 100 + i;
  Array<int> out(32);
  grid_constant<<<1, 32>>>(table, out, 3);
  const auto y = out.host();
  for (int i = 0; i < 32; ++i) EXPECT_EQ(y[i], 100 + (i * 7 + 3) % 16);
}

// Lanes arrive at a warp-synchronous instruction on different paths.
__global__ void gather_lanes(int* out) {
  const int lane = threadIdx.x;
  int v = lane;
  unsigned members = 0x00ffffff;
  if (lane >= 24) {
    out[lane] = -1;
  } else {
    if (lane < 8)
      v *= 2;
    else if (lane < 16)
      v *= 3;
    out[lane] = __shfl_sync(members, v, (lane + 1) % 24);
  }
}

TEST(SoftgpuKernels, PartialWarpShuffle) {
  Array<int> out(32);
  gather_lanes<<<1, 32>>>(out);
  const auto y = out.host();
  for (int l = 0; l < 32; ++l) {
    const int s = (l + 1) % 24;
    EXPECT_EQ(y[l], (l >= 24 ? -1 : s < 8 ? 2 * s : s < 16 ? 3 * s : s));
  }
}

__global__ void dynamic_local(const int* x, int* out, int n) {
  int a[64];
  for (int i = 0; i < 64; ++i) a[i] = x[i];
  for (int i = 0; i < n; ++i) a[x[i] & 63] += a[x[i + 1] & 63] + threadIdx.x;
  int s = 0;
  for (int i = 0; i < 64; ++i) s = s * 3 + a[i];
  out[threadIdx.x] = s;
}

TEST(SoftgpuKernels, LocalMemory) {
  std::vector<int> x;
  for (const unsigned w : random_words(200)) x.push_back(int(w));
  Array<int> dx(x), out(96);
  dynamic_local<<<1, 96>>>(dx, out, 150);
  const auto y = out.host();
  for (unsigned t = 0; t < 96; ++t) {
    unsigned a[64], s = 0;
    for (int i = 0; i < 64; ++i) a[i] = unsigned(x[i]);
    for (int i = 0; i < 150; ++i) a[x[i] & 63] += a[x[i + 1] & 63] + t;
    for (int i = 0; i < 64; ++i) s = s * 3 + a[i];
    EXPECT_EQ(y[t], int(s));
  }
}

}  // namespace
