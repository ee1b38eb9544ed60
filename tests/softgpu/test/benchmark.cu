// Speed of the interpreter. Run with SOFTGPU_PROFILE=1 to see lane instructions per second, and
// with SOFTGPU_THREADS=1 for the speed of one core.

#include "tests/softgpu/test/check.h"

#include <cuda_bf16.h>
#include <mma.h>

__global__ void arithmetic(float* out, int n) {
  float a = threadIdx.x, b = blockIdx.x, c = 1;
  for (int i = 0; i < n; ++i) {
    a = a * 1.0001f + b;
    b = b * 0.9999f + c;
    c = fmaxf(a - b, c * 0.5f);
  }
  out[blockIdx.x * blockDim.x + threadIdx.x] = a + b + c;
}

__global__ void saxpy(const float4* x, float4* y, float a, int n) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
    float4 v = x[i], w = y[i];
    w.x += a * v.x, w.y += a * v.y, w.z += a * v.z, w.w += a * v.w;
    y[i] = w;
  }
}

__global__ void tiled_gemm(const float* a, const float* b, float* c, int n) {
  __shared__ float sa[16][16], sb[16][16];
  const int row = blockIdx.y * 16 + threadIdx.y, column = blockIdx.x * 16 + threadIdx.x;
  float sum = 0;
  for (int p = 0; p < n; p += 16) {
    sa[threadIdx.y][threadIdx.x] = a[row * n + p + threadIdx.x];
    sb[threadIdx.y][threadIdx.x] = b[(p + threadIdx.y) * n + column];
    __syncthreads();
    for (int k = 0; k < 16; ++k) sum += sa[threadIdx.y][k] * sb[k][threadIdx.x];
    __syncthreads();
  }
  c[row * n + column] = sum;
}

__global__ void row_softmax(const __nv_bfloat16* x, __nv_bfloat16* y, int n) {
  __shared__ float partial[8];
  float m = -INFINITY, sum = 0;
  for (int i = threadIdx.x; i < n; i += blockDim.x) m = fmaxf(m, __bfloat162float(x[blockIdx.x * n + i]));
  for (int o = 16; o; o /= 2) m = fmaxf(m, __shfl_xor_sync(~0u, m, o));
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = m;
  __syncthreads();
  for (int w = 0; w < 8; ++w) m = fmaxf(m, partial[w]);
  __syncthreads();
  for (int i = threadIdx.x; i < n; i += blockDim.x) sum += __expf(__bfloat162float(x[blockIdx.x * n + i]) - m);
  for (int o = 16; o; o /= 2) sum += __shfl_xor_sync(~0u, sum, o);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  sum = 0;
  for (int w = 0; w < 8; ++w) sum += partial[w];
  for (int i = threadIdx.x; i < n; i += blockDim.x)
    y[blockIdx.x * n + i] = __float2bfloat16(__expf(__bfloat162float(x[blockIdx.x * n + i]) - m) / sum);
}

__global__ void divergent_steps(const unsigned* seeds, int* out) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  unsigned x = seeds[i] % 4096 + 1;
  int steps = 0;
  while (x != 1) {
    x = x % 2 ? 3 * x + 1 : x / 2;
    ++steps;
  }
  out[i] = steps;
}

__global__ void wmma_gemm(const __nv_bfloat16* a, const __nv_bfloat16* b, float* c, int n) {
  using namespace nvcuda;
  wmma::fragment<wmma::matrix_a, 16, 16, 16, __nv_bfloat16, wmma::row_major> fa;
  wmma::fragment<wmma::matrix_b, 16, 16, 16, __nv_bfloat16, wmma::col_major> fb;
  wmma::fragment<wmma::accumulator, 16, 16, 16, float> fc;
  wmma::fill_fragment(fc, 0.f);
  const int row = blockIdx.y * 16, column = (blockIdx.x * 4 + threadIdx.x / 32) * 16;
  for (int p = 0; p < n; p += 16) {
    wmma::load_matrix_sync(fa, a + row * n + p, n);
    wmma::load_matrix_sync(fb, b + column * n + p, n);
    wmma::mma_sync(fc, fa, fb, fc);
  }
  wmma::store_matrix_sync(c + row * n + column, fc, n, wmma::mem_row_major);
}

int main() {
  const int n = 256;
  Array<float> out(1 << 16), a(random_floats(n * n)), b(random_floats(n * n)), c(n * n);
  arithmetic<<<64, 256>>>(out, 1000);
  Array<float4> x(1 << 20), y(1 << 20);
  saxpy<<<128, 256>>>(x, y, 2.f, 1 << 20);
  tiled_gemm<<<dim3(n / 16, n / 16), dim3(16, 16)>>>(a, b, c, n);
  Array<__nv_bfloat16> h(1 << 20), g(1 << 20);
  CUDA(cudaMemset(h, 0, sizeof(__nv_bfloat16) << 20));
  row_softmax<<<256, 256>>>(h, g, 4096);
  Array<unsigned> seeds(random_words(1 << 16));
  Array<int> steps(1 << 16);
  divergent_steps<<<256, 256>>>(seeds, steps);
  wmma_gemm<<<dim3(n / 64, n / 16), 128>>>(h, h, c, n);
  CUDA(cudaDeviceSynchronize());
}
