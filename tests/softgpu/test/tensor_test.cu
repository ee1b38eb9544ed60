// Tensor core instructions and asynchronous copies.

#include "tests/softgpu/test/check.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_pipeline.h>
#include <mma.h>

using namespace nvcuda;
using bf16 = __nv_bfloat16;

namespace {

std::vector<bf16> random_bf16(std::size_t n, unsigned seed) {
  std::vector<bf16> values;
  for (const float f : random_floats(n, -1, 1, seed)) values.push_back(__float2bfloat16(f));
  return values;
}
std::vector<__half> random_half(std::size_t n, unsigned seed) {
  std::vector<__half> values;
  for (const float f : random_floats(n, -1, 1, seed)) values.push_back(__float2half(f));
  return values;
}

// Checks c[m][n] = sum over k of a(m, k) * b(k, n).
template <class A, class B, class C>
void check_product(int m, int n, int k, A a, B b, C c, double tolerance) {
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j) {
      double sum = 0;
      for (int p = 0; p < k; ++p) sum += double(a(i, p)) * double(b(p, j));
      EXPECT_CLOSE(c(i, j), sum, tolerance);
    }
}

// ---- wmma ----

// One warp per 16x16 tile of C (row major); A is row major, B is column major.
__global__ void wmma_gemm(const bf16* a, const bf16* b, float* c, int n, int k) {
  __shared__ bf16 tile[256];
  wmma::fragment<wmma::matrix_a, 16, 16, 16, bf16, wmma::row_major> fa;
  wmma::fragment<wmma::matrix_b, 16, 16, 16, bf16, wmma::col_major> fb;
  wmma::fragment<wmma::accumulator, 16, 16, 16, float> fc;
  wmma::fill_fragment(fc, 0.f);
  for (int p = 0; p < k; p += 16) {
    for (int i = threadIdx.x; i < 256; i += 32) tile[i] = a[(blockIdx.y * 16 + i / 16) * k + p + i % 16];
    __syncwarp();
    wmma::load_matrix_sync(fa, tile, 16);
    wmma::load_matrix_sync(fb, b + blockIdx.x * 16 * k + p, k);
    wmma::mma_sync(fc, fa, fb, fc);
    __syncwarp();
  }
  for (int i = 0; i < fc.num_elements; ++i) fc.x[i] *= 2;
  wmma::store_matrix_sync(c + blockIdx.y * 16 * n + blockIdx.x * 16, fc, n, wmma::mem_row_major);
}

TEST(SoftgpuTensor, WmmaBf16) {
  const int m = 32, n = 48, k = 64;
  const auto a = random_bf16(m * k, 1), b = random_bf16(n * k, 2);
  Array<bf16> da(a), db(b);
  Array<float> dc(m * n);
  wmma_gemm<<<dim3(n / 16, m / 16), 32>>>(da, db, dc, n, k);
  CUDA(cudaDeviceSynchronize());
  const auto c = dc.host();
  check_product(
      m, n, k, [&](int i, int p) { return 2 * __bfloat162float(a[i * k + p]); },
      [&](int p, int j) { return __bfloat162float(b[j * k + p]); }, [&](int i, int j) { return c[i * n + j]; }, 1e-5);
}

__global__ void wmma_half(const __half* a, const __half* b, __half* c) {
  wmma::fragment<wmma::matrix_a, 16, 16, 16, __half, wmma::col_major> fa;
  wmma::fragment<wmma::matrix_b, 16, 16, 16, __half, wmma::row_major> fb;
  wmma::fragment<wmma::accumulator, 16, 16, 16, __half> fc;
  wmma::load_matrix_sync(fc, c, 16, wmma::mem_col_major);
  wmma::load_matrix_sync(fa, a, 16);
  wmma::load_matrix_sync(fb, b, 16);
  wmma::mma_sync(fc, fa, fb, fc);
  wmma::store_matrix_sync(c, fc, 16, wmma::mem_col_major);
}

TEST(SoftgpuTensor, WmmaF16) {
  const auto a = random_half(256, 1), b = random_half(256, 2);
  Array<__half> da(a), db(b), dc(std::vector<__half>(256, __float2half(0.f)));
  wmma_half<<<1, 32>>>(da, db, dc);
  CUDA(cudaDeviceSynchronize());
  const auto c = dc.host();
  check_product(
      16, 16, 16, [&](int i, int p) { return __half2float(a[p * 16 + i]); },
      [&](int p, int j) { return __half2float(b[p * 16 + j]); },
      [&](int i, int j) { return __half2float(c[j * 16 + i]); }, 2e-3);
}

__global__ void wmma_bytes(const signed char* a, const signed char* b, int* c) {
  wmma::fragment<wmma::matrix_a, 16, 16, 16, signed char, wmma::row_major> fa;
  wmma::fragment<wmma::matrix_b, 16, 16, 16, signed char, wmma::col_major> fb;
  wmma::fragment<wmma::accumulator, 16, 16, 16, int> fc;
  wmma::fill_fragment(fc, 0);
  wmma::load_matrix_sync(fa, a, 16);
  wmma::load_matrix_sync(fb, b, 16);
  wmma::mma_sync(fc, fa, fb, fc);
  wmma::store_matrix_sync(c, fc, 16, wmma::mem_row_major);
}
__global__ void wmma_tf32(const float* a, const float* b, float* c) {
  wmma::fragment<wmma::matrix_a, 16, 16, 8, wmma::precision::tf32, wmma::row_major> fa;
  wmma::fragment<wmma::matrix_b, 16, 16, 8, wmma::precision::tf32, wmma::row_major> fb;
  wmma::fragment<wmma::accumulator, 16, 16, 8, float> fc;
  wmma::fill_fragment(fc, 0.f);
  wmma::load_matrix_sync(fa, a, 8);
  wmma::load_matrix_sync(fb, b, 16);
  for (int i = 0; i < fa.num_elements; ++i) fa.x[i] = wmma::__float_to_tf32(fa.x[i]);
  for (int i = 0; i < fb.num_elements; ++i) fb.x[i] = wmma::__float_to_tf32(fb.x[i]);
  wmma::mma_sync(fc, fa, fb, fc);
  wmma::store_matrix_sync(c, fc, 16, wmma::mem_row_major);
}

TEST(SoftgpuTensor, WmmaS8AndTf32) {
  std::vector<signed char> a(256), b(256);
  for (int i = 0; i < 256; ++i) a[i] = (signed char)(i * 37 + 11), b[i] = (signed char)(i * 53 + 7);
  const auto fa = random_floats(128, -1, 1, 5), fb = random_floats(128, -1, 1, 6);
  Array<signed char> da(a), db(b);
  Array<int> dc(256);
  Array<float> dfa(fa), dfb(fb), dfc(256);
  wmma_bytes<<<1, 32>>>(da, db, dc);
  wmma_tf32<<<1, 32>>>(dfa, dfb, dfc);
  CUDA(cudaDeviceSynchronize());
  const auto c = dc.host();
  const auto fc = dfc.host();
  check_product(
      16, 16, 16, [&](int i, int p) { return a[i * 16 + p]; }, [&](int p, int j) { return b[j * 16 + p]; },
      [&](int i, int j) { return c[i * 16 + j]; }, 0);
  check_product(
      16, 16, 8, [&](int i, int p) { return fa[i * 8 + p]; }, [&](int p, int j) { return fb[p * 16 + j]; },
      [&](int i, int j) { return fc[i * 16 + j]; }, 2e-3);
}

// ---- mma.sync with ldmatrix ----

__device__ void load_matrix4(unsigned (&r)[4], const void* shared) {
  const unsigned address = unsigned(__cvta_generic_to_shared(shared));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}
__device__ void load_matrix2_transposed(unsigned (&r)[2], const void* shared) {
  const unsigned address = unsigned(__cvta_generic_to_shared(shared));
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(address));
}

// C (16x8) = A (16xK, row major) * B (Kx8, row major) with m16n8k16.
template <class T>
__global__ void mma_gemm(const T* a, const T* b, float* c, int k) {
  __shared__ __align__(16) T sa[16][24];  // padded rows of 48 bytes
  __shared__ __align__(16) T sb[16][8];
  const int lane = threadIdx.x;
  float d[4] = {};
  for (int p = 0; p < k; p += 16) {
    for (int i = lane; i < 256; i += 32) sa[i / 16][i % 16] = a[i / 16 * k + p + i % 16];
    for (int i = lane; i < 128; i += 32) sb[i / 8][i % 8] = b[(p + i / 8) * 8 + i % 8];
    __syncwarp();
    unsigned fa[4], fb[2];
    load_matrix4(fa, &sa[lane % 16][lane / 16 * 8]);
    load_matrix2_transposed(fb, &sb[lane % 16][0]);
    if constexpr (sizeof(T) == 2 && std::is_same_v<T, bf16>)
      asm volatile(
          "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
          : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
          : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    else
      asm volatile(
          "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
          : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
          : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    __syncwarp();
  }
  // The accumulator layout of PTX ISA 9.7.14.5.8.
  for (int i = 0; i < 4; ++i) c[(lane / 4 + 8 * (i / 2)) * 8 + lane % 4 * 2 + i % 2] = d[i];
}

TEST(SoftgpuTensor, MmaSyncBf16) {
  const int k = 80;
  const auto a = random_bf16(16 * k, 3), b = random_bf16(k * 8, 4);
  Array<bf16> da(a), db(b);
  Array<float> dc(128);
  mma_gemm<<<1, 32>>>(da.get(), db.get(), dc.get(), k);
  CUDA(cudaDeviceSynchronize());
  const auto c = dc.host();
  check_product(
      16, 8, k, [&](int i, int p) { return __bfloat162float(a[i * k + p]); },
      [&](int p, int j) { return __bfloat162float(b[p * 8 + j]); }, [&](int i, int j) { return c[i * 8 + j]; }, 1e-5);
}

TEST(SoftgpuTensor, MmaSyncF16) {
  const int k = 48;
  const auto a = random_half(16 * k, 3), b = random_half(k * 8, 4);
  Array<__half> da(a), db(b);
  Array<float> dc(128);
  mma_gemm<<<1, 32>>>(da.get(), db.get(), dc.get(), k);
  CUDA(cudaDeviceSynchronize());
  const auto c = dc.host();
  check_product(
      16, 8, k, [&](int i, int p) { return __half2float(a[i * k + p]); },
      [&](int p, int j) { return __half2float(b[p * 8 + j]); }, [&](int i, int j) { return c[i * 8 + j]; }, 1e-5);
}

// m16n8k32 on signed bytes and m16n8k8 on tf32, fragments loaded element by element.
__global__ void mma_other(const signed char* a, const signed char* b, int* c, const float* fa, const float* fb,
                          float* fc) {
  const int lane = threadIdx.x, group = lane / 4, in = lane % 4;
  unsigned ra[4], rb[2];
  int d[4] = {};
  for (int r = 0; r < 4; ++r)
    ra[r] = *reinterpret_cast<const unsigned*>(a + (group + 8 * (r & 1)) * 32 + in * 4 + 16 * (r >> 1));
  for (int r = 0; r < 2; ++r) {
    rb[r] = 0;
    for (int e = 0; e < 4; ++e) rb[r] |= unsigned((unsigned char)b[(in * 4 + e + 16 * r) * 8 + group]) << (8 * e);
  }
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
               : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
               : "r"(ra[0]), "r"(ra[1]), "r"(ra[2]), "r"(ra[3]), "r"(rb[0]), "r"(rb[1]));
  for (int i = 0; i < 4; ++i) c[(group + 8 * (i / 2)) * 8 + in * 2 + i % 2] = d[i];

  float f[4] = {};
  for (int r = 0; r < 4; ++r) {
    const float v = fa[(group + 8 * (r & 1)) * 8 + in + 4 * (r >> 1)];
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(ra[r]) : "f"(v));
  }
  for (int r = 0; r < 2; ++r) asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rb[r]) : "f"(fb[(in + 4 * r) * 8 + group]));
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
               : "+f"(f[0]), "+f"(f[1]), "+f"(f[2]), "+f"(f[3])
               : "r"(ra[0]), "r"(ra[1]), "r"(ra[2]), "r"(ra[3]), "r"(rb[0]), "r"(rb[1]));
  for (int i = 0; i < 4; ++i) fc[(group + 8 * (i / 2)) * 8 + in * 2 + i % 2] = f[i];
}

TEST(SoftgpuTensor, MmaSyncS8AndTf32) {
  std::vector<signed char> a(16 * 32), b(32 * 8);
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = (signed char)(i * 37 + 11);
  for (std::size_t i = 0; i < b.size(); ++i) b[i] = (signed char)(i * 53 + 7);
  const auto fa = random_floats(16 * 8, -1, 1, 5), fb = random_floats(64, -1, 1, 6);
  Array<signed char> da(a), db(b);
  Array<float> dfa(fa), dfb(fb), dfc(128);
  Array<int> dc(128);
  mma_other<<<1, 32>>>(da, db, dc, dfa, dfb, dfc);
  CUDA(cudaDeviceSynchronize());
  const auto c = dc.host();
  const auto fc = dfc.host();
  check_product(
      16, 8, 32, [&](int i, int p) { return a[i * 32 + p]; }, [&](int p, int j) { return b[p * 8 + j]; },
      [&](int i, int j) { return c[i * 8 + j]; }, 0);
  check_product(
      16, 8, 8, [&](int i, int p) { return fa[i * 8 + p]; }, [&](int p, int j) { return fb[p * 8 + j]; },
      [&](int i, int j) { return fc[i * 8 + j]; }, 2e-3);
}

// ---- cp.async ----

// Reverses tiles of 128 float4, with a two-stage pipeline.
__global__ void pipelined_copy(const float4* in, float4* out, int tiles, bool forget_to_wait) {
  __shared__ float4 stage[2][128];
  const int t = threadIdx.x;
  __pipeline_memcpy_async(&stage[0][t], in + t, 16);
  __pipeline_commit();
  for (int i = 0; i < tiles; ++i) {
    if (i + 1 < tiles) __pipeline_memcpy_async(&stage[(i + 1) & 1][t], in + (i + 1) * 128 + t, 16);
    __pipeline_commit();
    if (!forget_to_wait) __pipeline_wait_prior(1);
    __syncthreads();
    out[i * 128 + t] = stage[i & 1][127 - t];
    __syncthreads();
  }
}

int pipeline_mismatches(bool forget_to_wait) {
  const int tiles = 5;
  const auto x = random_floats(tiles * 512);
  std::vector<float4> in(tiles * 128);
  std::memcpy(in.data(), x.data(), x.size() * sizeof(float));
  Array<float4> din(in), dout(in.size());
  pipelined_copy<<<1, 128>>>(din, dout, tiles, forget_to_wait);
  const auto out = dout.host();
  int mismatches = 0;
  for (int i = 0; i < tiles * 128; ++i) mismatches += out[i].z != in[i / 128 * 128 + 127 - i % 128].z;
  return mismatches;
}

TEST(SoftgpuTensor, CpAsyncPipeline) { EXPECT_EQ(pipeline_mismatches(false), 0); }
// Copies land only when they are waited for, so a missing wait shows.
TEST(SoftgpuTensor, CpAsyncMissingWaitIsVisible) { EXPECT_TRUE(pipeline_mismatches(true) > 0); }

__global__ void zero_fill(const int* in, int* out, int valid) {
  __shared__ int buffer[32];
  __pipeline_memcpy_async(&buffer[threadIdx.x], in + threadIdx.x, 4, threadIdx.x < valid ? 0 : 4);
  __pipeline_commit();
  __pipeline_wait_prior(0);
  __syncwarp();
  out[threadIdx.x] = buffer[31 - threadIdx.x];
}

TEST(SoftgpuTensor, CpAsyncZeroFill) {
  std::vector<int> x(20, 7);
  Array<int> in(x), out(32);
  zero_fill<<<1, 32>>>(in, out, 20);
  CUDA(cudaDeviceSynchronize());
  const auto y = out.host();
  for (int i = 0; i < 32; ++i) EXPECT_EQ(y[i], (31 - i < 20 ? 7 : 0));
}

// 16-byte copies of which only the first `valid` bytes exist in memory; `ignore` as a predicate.
__global__ void partial_source(const char* in, int4* out, int valid, int ignored_lane) {
  __shared__ int4 buffer[32];
  const unsigned to = unsigned(__cvta_generic_to_shared(&buffer[threadIdx.x]));
  const int size = max(0, min(16, valid - 16 * int(threadIdx.x)));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(in + 16 * threadIdx.x), "r"(size));
  asm volatile("cp.async.wait_all;");
  out[threadIdx.x] = buffer[threadIdx.x];
  asm volatile("{ .reg .pred p; setp.eq.s32 p, %2, %3; cp.async.ca.shared.global [%0], [%1], 8, p; }" ::"r"(to),
               "l"(in), "r"(int(threadIdx.x)), "r"(ignored_lane));
  asm volatile("cp.async.wait_all;");
  out[32 + threadIdx.x] = buffer[threadIdx.x];
}

TEST(SoftgpuTensor, CpAsyncPartialSource) {
  std::vector<char> x(75);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = char(i + 1);
  Array<char> in(x);
  Array<int4> out(64);
  partial_source<<<1, 32>>>(in, out, 75, 3);
  CUDA(cudaDeviceSynchronize());
  const auto y = out.host();
  const char* bytes = reinterpret_cast<const char*>(y.data());
  for (int i = 0; i < 512; ++i) EXPECT_EQ(bytes[i], i < 75 ? x[i] : 0);
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 8; ++i) EXPECT_EQ(bytes[512 + 16 * lane + i], lane == 3 ? 0 : x[i]);
}

}  // namespace
