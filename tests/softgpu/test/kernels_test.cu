// Typical kernels against CPU references.

#include "tests/softgpu/test/check.h"

#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <numeric>

namespace cg = cooperative_groups;

namespace {

// ---- vector add ----

__constant__ float scale;
__device__ int counter = 5;
__device__ float constants[4] = {1, 2, 3, 4};
__device__ float* table_pointer = constants + 1;

__global__ void vector_add(const float* a, const float* b, float* c, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) {
    c[i] = a[i] * scale + b[i];
    atomicAdd(&counter, 1);
  }
}

TEST(SoftgpuKernels, VectorAdd) {
  const int n = 1000;
  const auto a = random_floats(n), b = random_floats(n, -1, 1, 2);
  Array<float> da(a), db(b), dc(n);
  const float s = 2;
  CUDA(cudaMemcpyToSymbol(scale, &s, sizeof s));
  vector_add<<<(n + 255) / 256, 256>>>(da, db, dc, n);
  CUDA(cudaGetLastError());
  const auto c = dc.host();
  for (int i = 0; i < n; ++i) EXPECT_EQ(c[i], std::fma(a[i], s, b[i]));
  int count;
  CUDA(cudaMemcpyFromSymbol(&count, counter, sizeof count));
  EXPECT_EQ(count, 5 + n);
}

__global__ void read_table(float* out) { out[threadIdx.x] = table_pointer[threadIdx.x]; }

TEST(SoftgpuKernels, InitialisedVariables) {
  Array<float> out(3);
  read_table<<<1, 3>>>(out);
  EXPECT_TRUE((out.host() == std::vector<float>{2, 3, 4}));
}

// ---- reductions ----

__global__ void block_sum(const float* x, float* out, int n) {
  __shared__ float partial[32];
  float sum = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum += x[i];
  for (int offset = 16; offset; offset /= 2) sum += __shfl_down_sync(~0u, sum, offset);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x < 32) {
    sum = threadIdx.x < blockDim.x / 32 ? partial[threadIdx.x] : 0.f;
    for (int offset = 16; offset; offset /= 2) sum += __shfl_xor_sync(~0u, sum, offset);
    if (threadIdx.x == 0) atomicAdd(out, sum);
  }
}

TEST(SoftgpuKernels, Reduction) {
  const auto x = random_floats(10007);
  Array<float> dx(x), out(std::vector<float>{0});
  block_sum<<<7, 192>>>(dx, out, int(x.size()));
  EXPECT_CLOSE(out.host()[0], std::accumulate(x.begin(), x.end(), 0.0), 1e-4);
}

__global__ void tile_sums(const int* x, int* out) {
  auto tile = cg::tiled_partition<8>(cg::this_thread_block());
  const int sum = cg::reduce(tile, x[threadIdx.x], cg::plus<int>());
  const int prefix = tile.shfl_up(x[threadIdx.x], 3);
  out[threadIdx.x] = sum * 1000 + (tile.thread_rank() >= 3 ? prefix : 0);
}

TEST(SoftgpuKernels, CooperativeTiles) {
  std::vector<int> x(64);
  std::iota(x.begin(), x.end(), 0);
  Array<int> dx(x), out(64);
  tile_sums<<<1, 64>>>(dx, out);
  const auto y = out.host();
  for (int i = 0; i < 64; ++i) EXPECT_EQ(y[i], (i / 8 * 64 + 28) * 1000 + (i % 8 >= 3 ? i - 3 : 0));
}

// ---- transpose ----

__global__ void transpose(const float* in, float* out, int rows, int columns) {
  __shared__ float tile[32][33];
  int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 32 + threadIdx.y;
  for (int j = 0; j < 32; j += 8)
    if (x < columns && y + j < rows) tile[threadIdx.y + j][threadIdx.x] = in[(y + j) * columns + x];
  __syncthreads();
  x = blockIdx.y * 32 + threadIdx.x, y = blockIdx.x * 32 + threadIdx.y;
  for (int j = 0; j < 32; j += 8)
    if (x < rows && y + j < columns) out[(y + j) * rows + x] = tile[threadIdx.x][threadIdx.y + j];
}

TEST(SoftgpuKernels, SharedTranspose) {
  const int rows = 70, columns = 45;
  const auto in = random_floats(rows * columns);
  Array<float> din(in), dout(in.size());
  transpose<<<dim3(2, 3), dim3(32, 8)>>>(din, dout, rows, columns);
  const auto out = dout.host();
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < columns; ++c) EXPECT_EQ(out[c * rows + r], in[r * columns + c]);
}

// ---- softmax ----

__global__ void softmax(const float* x, float* y, int n) {
  extern __shared__ float buffer[];
  const float* row = x + blockIdx.x * n;
  float m = -INFINITY;
  for (int i = threadIdx.x; i < n; i += blockDim.x) m = fmaxf(m, row[i]);
  buffer[threadIdx.x] = m;
  __syncthreads();
  for (int s = blockDim.x / 2; s; s /= 2) {
    if (threadIdx.x < s) buffer[threadIdx.x] = fmaxf(buffer[threadIdx.x], buffer[threadIdx.x + s]);
    __syncthreads();
  }
  m = buffer[0];
  __syncthreads();
  float sum = 0;
  for (int i = threadIdx.x; i < n; i += blockDim.x) sum += expf(row[i] - m);
  buffer[threadIdx.x] = sum;
  __syncthreads();
  for (int s = blockDim.x / 2; s; s /= 2) {
    if (threadIdx.x < s) buffer[threadIdx.x] += buffer[threadIdx.x + s];
    __syncthreads();
  }
  for (int i = threadIdx.x; i < n; i += blockDim.x) y[blockIdx.x * n + i] = __expf(row[i] - m) / buffer[0];
}

TEST(SoftgpuKernels, Softmax) {
  const int rows = 5, n = 301;
  const auto x = random_floats(rows * n, -5, 5);
  Array<float> dx(x), dy(x.size());
  softmax<<<rows, 128, 128 * sizeof(float)>>>(dx, dy, n);
  CUDA(cudaGetLastError());
  const auto y = dy.host();
  for (int r = 0; r < rows; ++r) {
    double sum = 0;
    for (int i = 0; i < n; ++i) sum += std::exp(double(x[r * n + i]));
    for (int i = 0; i < n; ++i) EXPECT_CLOSE(y[r * n + i], std::exp(double(x[r * n + i])) / sum, 1e-6);
  }
}

// ---- RMSNorm in bf16 with vector loads ----

__global__ void rms_norm(const __nv_bfloat16* x, const __nv_bfloat16* weight, __nv_bfloat16* y, int n, float epsilon) {
  const uint4* in = reinterpret_cast<const uint4*>(x + blockIdx.x * n);
  float sum = 0;
  for (int i = threadIdx.x; i < n / 8; i += 32) {
    const uint4 v = __ldg(in + i);
    const auto* h = reinterpret_cast<const __nv_bfloat162*>(&v);
    for (int k = 0; k < 4; ++k) {
      const float2 f = __bfloat1622float2(h[k]);
      sum += f.x * f.x + f.y * f.y;
    }
  }
  for (int offset = 16; offset; offset /= 2) sum += __shfl_xor_sync(~0u, sum, offset);
  const float inverse = rsqrtf(sum / n + epsilon);
  for (int i = threadIdx.x; i < n / 8; i += 32) {
    uint4 v = in[i];
    const uint4 w = reinterpret_cast<const uint4*>(weight)[i];
    auto* h = reinterpret_cast<__nv_bfloat162*>(&v);
    const auto* g = reinterpret_cast<const __nv_bfloat162*>(&w);
    for (int k = 0; k < 4; ++k) {
      const float2 f = __bfloat1622float2(h[k]);
      h[k] = __hmul2(__floats2bfloat162_rn(f.x * inverse, f.y * inverse), g[k]);
    }
    reinterpret_cast<uint4*>(y + blockIdx.x * n)[i] = v;
  }
}

TEST(SoftgpuKernels, RmsNormBf16) {
  const int rows = 3, n = 768;
  std::vector<__nv_bfloat16> x, w;
  for (const float f : random_floats(rows * n)) x.push_back(__float2bfloat16(f));
  for (const float f : random_floats(n, 0.5f, 2)) w.push_back(__float2bfloat16(f));
  Array<__nv_bfloat16> dx(x), dw(w), dy(x.size());
  rms_norm<<<rows, 32>>>(dx, dw, dy, n, 1e-5f);
  const auto y = dy.host();
  for (int r = 0; r < rows; ++r) {
    double sum = 0;
    for (int i = 0; i < n; ++i) sum += std::pow(double(__bfloat162float(x[r * n + i])), 2);
    for (int i = 0; i < n; ++i)
      EXPECT_CLOSE(__bfloat162float(y[r * n + i]),
                   __bfloat162float(x[r * n + i]) / std::sqrt(sum / n + 1e-5) * __bfloat162float(w[i]), 1e-2);
  }
}

// Hints of the loads and stores that stream weights.
__global__ void streaming_copy(const uint4* in, uint4* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(in + i));
  asm volatile("prefetch.global.L2 [%0];" ::"l"(in));
  __stcs(out + i, make_uint4(v.w, v.z, v.y, __ldcg(&in[i].x)));
}

TEST(SoftgpuKernels, StreamingHints) {
  const auto words = random_words(4 * 100);
  Array<unsigned> in(words), out(words.size());
  streaming_copy<<<4, 32>>>(reinterpret_cast<uint4*>(in.get()), reinterpret_cast<uint4*>(out.get()), 100);
  CUDA(cudaDeviceSynchronize());
  const auto result = out.host();
  for (std::size_t i = 0; i < words.size(); ++i) EXPECT_EQ(result[i], words[i / 4 * 4 + 3 - i % 4]);
}

// ---- atomics ----

__global__ void histogram(const unsigned* x, int n, unsigned* bins, int* largest, unsigned long long* total) {
  __shared__ unsigned local[64];
  if (threadIdx.x < 64) local[threadIdx.x] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
    atomicAdd(&local[x[i] % 64], 1u);
    atomicMax(largest, int(x[i] & 0x7fffffff));
    atomicAdd(total, (unsigned long long)x[i]);
  }
  __syncthreads();
  if (threadIdx.x < 64) atomicAdd(&bins[threadIdx.x], local[threadIdx.x]);
}

TEST(SoftgpuKernels, AtomicsHistogram) {
  const auto x = random_words(5000);
  Array<unsigned> dx(x), bins(std::vector<unsigned>(64, 0));
  Array<int> largest(std::vector<int>{0});
  Array<unsigned long long> total(std::vector<unsigned long long>{0});
  histogram<<<8, 128>>>(dx, int(x.size()), bins, largest, total);
  std::vector<unsigned> expected(64, 0);
  int most = 0;
  unsigned long long sum = 0;
  for (const unsigned v : x) ++expected[v % 64], most = std::max(most, int(v & 0x7fffffff)), sum += v;
  EXPECT_EQ(bins.host(), expected);
  EXPECT_EQ(largest.host()[0], most);
  EXPECT_EQ(total.host()[0], sum);
}

__global__ void narrow_atomics(__half2* h, __nv_bfloat162* b, float* f, double* d, unsigned* u) {
  atomicAdd(h, __floats2half2_rn(1, 2));
  atomicAdd(b, __floats2bfloat162_rn(1, -1));
  atomicAdd(f, 0.5f);
  atomicAdd(d, 0.25);
  atomicInc(u, 10u);
  atomicDec(u + 1, 10u);
  atomicXor(u + 2, threadIdx.x);
  atomicAnd(u + 3, ~(1u << threadIdx.x % 32));
  atomicOr(u + 4, 1u << threadIdx.x % 32);
  atomicMin(u + 5, threadIdx.x + 3);
}

TEST(SoftgpuKernels, AtomicTypes) {
  Array<__half2> h(std::vector<__half2>(1, __floats2half2_rn(0, 0)));
  Array<__nv_bfloat162> b(std::vector<__nv_bfloat162>(1, __floats2bfloat162_rn(0, 0)));
  Array<float> f(std::vector<float>{0});
  Array<double> d(std::vector<double>{0});
  Array<unsigned> u(std::vector<unsigned>{0, 0, 0, ~0u, 0, 99});
  narrow_atomics<<<1, 64>>>(h, b, f, d, u);
  EXPECT_TRUE(__low2float(h.host()[0]) == 64 && __high2float(h.host()[0]) == 128);
  EXPECT_TRUE(__low2float(b.host()[0]) == 64 && __high2float(b.host()[0]) == -64);
  EXPECT_TRUE(f.host()[0] == 32 && d.host()[0] == 16);
  EXPECT_TRUE((u.host() == std::vector<unsigned>{64 % 11, (11 - 64 % 11) % 11, 0, 0, ~0u, 3}));
}

// ---- grid-wide synchronisation, printf ----

__global__ void grid_sync(int* x, int* out) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x, n = gridDim.x * blockDim.x;
  x[i] = i * i;
  cg::this_grid().sync();
  out[i] = x[(i + 37) % n];
  cg::this_grid().sync();
  x[i] = out[(i + 1) % n];
}

TEST(SoftgpuKernels, CooperativeLaunch) {
  const int n = 12 * 64;
  Array<int> x(n), out(n);
  int *px = x, *pout = out;
  void* arguments[] = {&px, &pout};
  CUDA(
      cudaLaunchCooperativeKernel(reinterpret_cast<const void*>(grid_sync), dim3(12), dim3(64), arguments, 0, nullptr));
  const auto y = x.host();
  for (int i = 0; i < n; ++i) {
    const int s = ((i + 1) % n + 37) % n;
    EXPECT_EQ(y[i], s * s);
  }
}

__global__ void hello(float f) {
  if (threadIdx.x == 3)
    printf("hello from thread %d of %s: %.2f %5lld %c %%\n", threadIdx.x, "softgpu", f, 1234567890123ll, 'x');
}

TEST(SoftgpuKernels, DevicePrintf) {
  std::fflush(stdout);
  hello<<<1, 32>>>(2.5f);
  CUDA(cudaDeviceSynchronize());
}

// ---- template kernels, 64-bit data, early exit, 3-D blocks ----

template <class T, int N>
__global__ void polynomial(const T* x, T* y, int n) {
  const int i = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const int t = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const int k = i * blockDim.x * blockDim.y * blockDim.z + t;
  if (k >= n) return;
  T sum = 0;
#pragma unroll
  for (int j = 0; j < N; ++j) sum = sum * x[k] + T(j);
  y[k] = sum;
}

TEST(SoftgpuKernels, ThreeDimensionalLaunch) {
  const int n = 1000;
  std::vector<double> x(n);
  for (int i = 0; i < n; ++i) x[i] = 0.001 * i;
  Array<double> dx(x), dy(n);
  polynomial<double, 6><<<dim3(2, 3, 2), dim3(5, 3, 6)>>>(dx, dy, n);
  const auto y = dy.host();
  for (int i = 0; i < n; ++i) {
    double sum = 0;
    for (int j = 0; j < 6; ++j) sum = std::fma(sum, x[i], j);
    EXPECT_EQ(y[i], sum);
  }
}

}  // namespace
