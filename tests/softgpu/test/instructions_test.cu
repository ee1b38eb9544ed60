// Instructions against the same functions on the CPU.

#include "tests/softgpu/test/check.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

namespace {

// ---- integer instructions ----

__host__ __device__ unsigned portable_integer(unsigned a, unsigned b, unsigned c) {
  unsigned r = a * b + c;
  r ^= unsigned(int(a) / int(b | 1)) + unsigned(int(a) % int(b | 1)) + a / (c | 1) + a % (c | 1);
  r += unsigned((unsigned long long)a * b >> 32) ^ unsigned((long long)int(a) * int(c) >> 32);
  r ^= (a & b) | (~a & c);
  r += (a >> (b & 31)) + unsigned(int(a) >> (c & 31)) + (b << (a & 31));
  r ^= unsigned(short(a)) * unsigned(short(b)) + (unsigned char)(c) + unsigned((signed char)b);
  r += unsigned(int(a) < int(b) ? int(a) : int(b)) ^ (a > b ? a : b);
  const long long x = (long long)(int)a * 1234567891ll + b;
  r += unsigned(x / ((int)c | 1)) ^ unsigned(x % ((int)c | 1)) ^ unsigned((unsigned long long)x / (c | 1ull << 33));
  return r;
}
__global__ void integers(const unsigned* a, const unsigned* b, const unsigned* c, unsigned* portable,
                         unsigned* intrinsic) {
  const int i = threadIdx.x;
  const unsigned x = a[i], y = b[i], z = c[i];
  portable[i] = portable_integer(x, y, z);
  unsigned* out = intrinsic + 16 * i;
  out[0] = __popc(x);
  out[1] = __clz(x);
  out[2] = __ffs(x);
  out[3] = __brev(x);
  out[4] = __byte_perm(x, y, 0x7214);
  out[5] = __funnelshift_l(x, y, z);
  out[6] = __funnelshift_rc(x, y, z);
  out[7] = __umulhi(x, y);
  out[8] = __mul24(int(x), int(y));
  out[9] = __sad(int(x), int(y), z);
  out[10] = __dp4a(int(x), int(y), int(z));
  out[11] = __popcll((unsigned long long)x << 32 | y);
  out[12] = __clzll((long long)((unsigned long long)x << 20 | y));
  out[13] = unsigned(abs(int(x)));
  out[14] = __uhadd(x, y);
  out[15] = __byte_perm(x, y, z & 0x7777);
}

TEST(SoftgpuInstructions, IntegerInstructions) {
  const int n = 512;
  auto a = random_words(n, 1), b = random_words(n, 2), c = random_words(n, 3);
  a[0] = 0, a[1] = ~0u, a[2] = 0x80000000u, b[2] = ~0u;
  Array<unsigned> da(a), db(b), dc(c), p(n), q(16 * n);
  integers<<<1, n>>>(da, db, dc, p, q);
  const auto portable = p.host(), intrinsic = q.host();
  for (int i = 0; i < n; ++i) {
    const unsigned x = a[i], y = b[i], z = c[i];
    if (!(x == 0x80000000u && (y | 1) == ~0u)) EXPECT_EQ(portable[i], portable_integer(x, y, z));
    const unsigned* out = &intrinsic[16 * i];
    EXPECT_EQ(out[0], unsigned(__builtin_popcount(x)));
    EXPECT_EQ(out[1], (x ? unsigned(__builtin_clz(x)) : 32));
    EXPECT_EQ(out[2], unsigned(__builtin_ffs(int(x))));
    unsigned reversed = 0;
    for (int k = 0; k < 32; ++k) reversed |= (x >> k & 1) << (31 - k);
    EXPECT_EQ(out[3], reversed);
    const unsigned long long both = (unsigned long long)y << 32 | x;
    const auto byte = [&](int k) { return unsigned(both >> (8 * k) & 0xff); };
    EXPECT_EQ(out[4], (byte(7) << 24 | byte(2) << 16 | byte(1) << 8 | byte(4)));
    EXPECT_EQ(out[5], unsigned(both << (z & 31) >> 32));
    EXPECT_EQ(out[6], (z >= 32 ? y : unsigned(both >> z)));
    EXPECT_EQ(out[7], unsigned((unsigned long long)x * y >> 32));
    const auto low24 = [](unsigned v) { return int(v << 8) >> 8; };
    EXPECT_EQ(out[8], unsigned(low24(x)) * unsigned(low24(y)));
    EXPECT_EQ(out[9], z + unsigned(std::llabs((long long)int(x) - int(y))));
    unsigned dot = z;
    for (int k = 0; k < 4; ++k) dot += unsigned((signed char)(x >> 8 * k) * (signed char)(y >> 8 * k));
    EXPECT_EQ(out[10], dot);
    EXPECT_EQ(out[11], unsigned(__builtin_popcount(x) + __builtin_popcount(y)));
    const unsigned long long w = (unsigned long long)x << 20 | y;
    EXPECT_EQ(out[12], (w ? unsigned(__builtin_clzll(w)) : 64));
    EXPECT_EQ(out[14], unsigned(((unsigned long long)x + y) >> 1));
  }
}

__host__ __device__ unsigned wide(unsigned long long a, unsigned long long b, unsigned c) {
  unsigned __int128 x = (unsigned __int128)a * b + c, y = ((unsigned __int128)b << 64) - a;
  x = (x << (c % 64)) - (y >> (c % 37)) + ((unsigned __int128)c << 90);
  return unsigned(x >> 96) ^ unsigned(x >> 64) ^ unsigned(x >> 32) ^ unsigned(x);
}
__global__ void wide_integers(const unsigned* a, unsigned* out) {
  const int i = threadIdx.x;
  out[i] = wide((unsigned long long)a[i] << 32 | a[i + 1], (unsigned long long)a[i + 2] << 32 | a[i + 3], a[i + 4]);
}

TEST(SoftgpuInstructions, ExtendedPrecision) {
  const auto a = random_words(260);
  Array<unsigned> da(a), out(256);
  wide_integers<<<1, 256>>>(da, out);
  const auto y = out.host();
  for (int i = 0; i < 256; ++i)
    EXPECT_EQ(y[i],
              wide((unsigned long long)a[i] << 32 | a[i + 1], (unsigned long long)a[i + 2] << 32 | a[i + 3], a[i + 4]));
}

__global__ void warp_primitives(const int* x, unsigned* out) {
  const int v = x[threadIdx.x];
  unsigned* o = out + 8 * threadIdx.x;
  o[0] = __ballot_sync(~0u, v > 3);
  o[1] = __match_any_sync(~0u, v);
  o[2] = __any_sync(~0u, v == 7) + 2 * __all_sync(~0u, v < 8);
  o[3] = unsigned(__reduce_add_sync(~0u, v));
  o[4] = unsigned(__reduce_max_sync(~0u, v));
  o[5] = unsigned(__syncthreads_count(v == 2));
  o[6] = unsigned(__syncthreads_or(v == 7) + 2 * __syncthreads_and(v < 7));
  int same = 0;
  const unsigned all = __match_all_sync(~0u, v / 8, &same);
  o[7] = all + unsigned(same);
}

TEST(SoftgpuInstructions, WarpPrimitives) {
  std::vector<int> x(64);
  for (int i = 0; i < 64; ++i) x[i] = (i * 5 + i / 32) % 8;
  Array<int> dx(x);
  Array<unsigned> out(64 * 8);
  warp_primitives<<<1, 64>>>(dx, out);
  const auto y = out.host();
  for (int i = 0; i < 64; ++i) {
    const int first = i / 32 * 32;
    unsigned ballot = 0, match = 0, sum = 0, most = 0, twos = 0;
    for (int j = 0; j < 32; ++j) {
      ballot |= unsigned(x[first + j] > 3) << j;
      match |= unsigned(x[first + j] == x[i]) << j;
      sum += unsigned(x[first + j]);
      most = std::max(most, unsigned(x[first + j]));
    }
    for (int j = 0; j < 64; ++j) twos += x[j] == 2;
    const unsigned* o = &y[8 * i];
    EXPECT_TRUE(o[0] == ballot && o[1] == match && o[2] == 3 && o[3] == sum && o[4] == most && o[5] == twos &&
                o[6] == 1);
    EXPECT_EQ(o[7], 0u);  // full mask + 1
  }
}

// ---- floating point ----

__global__ void math_functions(const float* x, float* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const float v = x[i];
  float* o = out + 24 * i;
  o[0] = expf(v);
  o[1] = logf(fabsf(v));
  o[2] = sinf(v);
  o[3] = cosf(v * 1000);
  o[4] = tanhf(v);
  o[5] = erff(v);
  o[6] = sqrtf(fabsf(v));
  o[7] = 1 / v;
  o[8] = rsqrtf(fabsf(v));
  o[9] = powf(fabsf(v), 1.7f);
  o[10] = v / 3.7f;
  o[11] = floorf(v) + 10 * ceilf(v) + 100 * rintf(v) + 1000 * truncf(v) + 10000 * roundf(v);
  o[12] = fmodf(v, 0.7f);
  o[13] = __expf(v);
  o[14] = __logf(fabsf(v));
  o[15] = __sinf(v);
  o[16] = v / (1 + __expf(-v));  // SiLU
  o[17] = float(int(v * 1000)) + float(unsigned(fabsf(v) * 10)) * 0.001f;
  o[18] = copysignf(2, v) + fminf(v, 0.5f) + fmaxf(v, -0.5f);
  o[19] = float(exp(double(v)));
  o[20] = float(double(v) / 3.0 + sqrt(fabs(double(v))));
  o[21] = log1pf(fabsf(v)) + exp2f(v) + cbrtf(v) + atan2f(v, 2.f);
  o[22] = __fadd_rz(v, 1e-9f) + __fmul_ru(v, 3.f);
  o[23] = __saturatef(v) + __frcp_rn(v) + __fsqrt_rn(fabsf(v)) + __fdividef(v, 3.f);
}

TEST(SoftgpuInstructions, MathFunctions) {
  const int n = 300;
  auto x = random_floats(n, -9, 9);
  x[0] = 0.5f, x[1] = -2.5f, x[2] = 1e-6f;
  Array<float> dx(x), out(24 * n);
  math_functions<<<3, 128>>>(dx, out, n);
  CUDA(cudaDeviceSynchronize());
  const auto y = out.host();
  for (int i = 0; i < n; ++i) {
    const float v = x[i];
    const double d = v;
    const float* o = &y[24 * i];
    EXPECT_CLOSE(o[0], std::exp(d), 1e-6);
    EXPECT_CLOSE(o[1], std::log(std::fabs(d)), 1e-6);
    EXPECT_CLOSE(o[2], std::sin(d), 1e-6);
    EXPECT_CLOSE(o[3], std::cos(double(v * 1000)), 1e-6);
    EXPECT_CLOSE(o[4], std::tanh(d), 1e-6);
    EXPECT_CLOSE(o[5], std::erf(d), 1e-6);
    EXPECT_EQ(o[6], std::sqrt(std::fabs(v)));
    EXPECT_EQ(o[7], 1 / v);
    EXPECT_CLOSE(o[8], 1 / std::sqrt(std::fabs(d)), 1e-6);
    EXPECT_CLOSE(o[9], std::pow(std::fabs(d), double(1.7f)), 1e-6);
    EXPECT_EQ(o[10], v / 3.7f);
    EXPECT_CLOSE(o[11],
                 std::floor(v) + 10 * std::ceil(v) + 100 * std::rint(v) + 1000 * std::trunc(v) + 10000 * std::round(v),
                 1e-6);
    EXPECT_CLOSE(o[12], std::fmod(v, 0.7f), 1e-6);
    EXPECT_CLOSE(o[13], std::exp(d), 2e-6);
    EXPECT_CLOSE(o[14], std::log(std::fabs(d)), 2e-6);
    EXPECT_CLOSE(o[15], std::sin(d), 1e-5);
    EXPECT_CLOSE(o[16], d / (1 + std::exp(-d)), 2e-6);
    EXPECT_CLOSE(o[17], float(int(v * 1000)) + float(unsigned(std::fabs(v) * 10)) * 0.001f, 1e-6);
    EXPECT_CLOSE(o[18], std::copysign(2.f, v) + std::fmin(v, 0.5f) + std::fmax(v, -0.5f), 1e-6);
    EXPECT_CLOSE(o[19], std::exp(d), 1e-7);
    EXPECT_CLOSE(o[20], d / 3 + std::sqrt(std::fabs(d)), 1e-7);
    EXPECT_CLOSE(o[21], std::log1p(std::fabs(d)) + std::exp2(d) + std::cbrt(d) + std::atan2(d, 2.0), 2e-6);
    EXPECT_CLOSE(o[22], v + v * 3.f, 1e-6);
    EXPECT_CLOSE(o[23], std::fmin(std::fmax(v, 0.f), 1.f) + 1 / v + std::sqrt(std::fabs(v)) + v / 3, 1e-6);
  }
}

__global__ void directed_rounding(float* out) {
  const float a = 1.f, b = 1e-10f;
  out[0] = __fadd_rn(a, b);
  out[1] = __fadd_ru(a, b);
  out[2] = __fadd_rd(a, b);
  out[3] = __fadd_rd(-a, -b);
  out[4] = __fadd_rz(-a, -b);
  out[5] = __fdiv_ru(1.f, 3.f);
  out[6] = __fdiv_rd(1.f, 3.f);
  out[7] = __int2float_rz(0x7fffffff);
  out[8] = __double2float_ru(0.1);
  out[9] = float(__float2int_rd(-1.5f)) + 10 * float(__float2int_ru(-1.5f)) + 100 * float(__float2int_rn(2.5f));
  out[10] = float(__float2int_rz(3e9f));
  out[11] = float(__float2uint_rz(-5.f));
}

TEST(SoftgpuInstructions, DirectedRounding) {
  Array<float> out(12);
  directed_rounding<<<1, 1>>>(out);
  const auto y = out.host();
  const float up = std::nextafter(1.f, 2.f);
  EXPECT_TRUE(y[0] == 1 && y[1] == up && y[2] == 1 && y[3] == -up && y[4] == -1);
  EXPECT_TRUE(y[5] == std::nextafter(y[6], 1.f) && y[6] < 1.0 / 3 && y[5] > 1.0 / 3);
  EXPECT_EQ(y[7], 2147483520.f);
  EXPECT_TRUE(double(y[8]) > 0.1);
  EXPECT_EQ(y[9], -2 - 10 + 200);
  EXPECT_TRUE(y[10] == 2147483648.f && y[11] == 0);
}

__global__ void halves(const __half* x, float* out) {
  const int i = threadIdx.x;
  const __half a = x[i], b = x[i + 1], c = x[i + 2];
  float* o = out + 12 * i;
  o[0] = __half2float(__hfma(a, b, c));
  o[1] = __half2float(a + b);
  o[2] = __half2float(a * b);
  o[3] = __half2float(a / b);
  o[4] = __half2float(hexp(a));
  o[5] = __half2float(__hmax(a, b));
  o[6] = float(a < b) + 2 * float(a == a) + 4 * float(__hne(a, b));
  const __half2 p = __halves2half2(a, b), q = __halves2half2(c, a);
  const __half2 r = __hfma2(p, q, __hadd2(p, __hneg2(q)));
  o[7] = __low2float(r);
  o[8] = __high2float(r);
  o[9] = __half2float(hsqrt(__habs(a)));
  o[10] = float(__half2int_rn(a)) + __half2float(__int2half_rn(i));
  o[11] = __half2float(__float2half_rz(0.1f * i));
}

TEST(SoftgpuInstructions, HalfPrecision) {
  const int n = 64;
  std::vector<__half> x;
  for (const float f : random_floats(n + 2, -3, 3)) x.push_back(__float2half(f));
  Array<__half> dx(x);
  Array<float> out(12 * n);
  halves<<<1, n>>>(dx, out);
  CUDA(cudaDeviceSynchronize());
  const auto y = out.host();
  const auto round = [](double v) { return __half2float(__float2half(float(v))); };
  for (int i = 0; i < n; ++i) {
    const float a = __half2float(x[i]), b = __half2float(x[i + 1]), c = __half2float(x[i + 2]);
    const float* o = &y[12 * i];
    EXPECT_EQ(o[0], round(double(a) * b + c));
    EXPECT_EQ(o[1], round(a + b));
    EXPECT_EQ(o[2], round(a * b));
    EXPECT_CLOSE(o[3], round(a / b), 1e-3);
    EXPECT_CLOSE(o[4], std::exp(a), 2e-3);
    EXPECT_EQ(o[5], std::max(a, b));
    EXPECT_EQ(o[6], float(a < b) + 2 + 4 * float(a != b));
    EXPECT_EQ(o[7], round(double(a) * c + round(a - c)));
    EXPECT_EQ(o[8], round(double(b) * a + round(b - a)));
    EXPECT_CLOSE(o[9], std::sqrt(std::fabs(a)), 1e-3);
    EXPECT_EQ(o[10], std::rint(a) + i);
    EXPECT_TRUE(o[11] <= 0.1f * i && o[11] >= 0.0999f * i);
  }
}

__global__ void bfloats(const __nv_bfloat16* x, float* out) {
  const int i = threadIdx.x;
  const __nv_bfloat16 a = x[i], b = x[i + 1], c = x[i + 2];
  float* o = out + 8 * i;
  o[0] = __bfloat162float(__hfma(a, b, c));
  o[1] = __bfloat162float(a + b);
  o[2] = __bfloat162float(a * b);
  o[3] = __bfloat162float(hexp(a));
  o[4] = __bfloat162float(__hmin(a, b)) + float(a < b);
  const __nv_bfloat162 r = __hfma2(__halves2bfloat162(a, b), __halves2bfloat162(c, a), __halves2bfloat162(b, b));
  o[5] = __low2float(r);
  o[6] = __high2float(r);
  const __nv_bfloat162 packed = __floats2bfloat162_rn(0.1f * i, -0.3f * i);
  o[7] = __low2float(packed) + __high2float(packed);
}

TEST(SoftgpuInstructions, BfloatPrecision) {
  const int n = 64;
  std::vector<__nv_bfloat16> x;
  for (const float f : random_floats(n + 2, -3, 3)) x.push_back(__float2bfloat16(f));
  Array<__nv_bfloat16> dx(x);
  Array<float> out(8 * n);
  bfloats<<<1, n>>>(dx, out);
  CUDA(cudaDeviceSynchronize());
  const auto y = out.host();
  const auto round = [](double v) { return __bfloat162float(__double2bfloat16(v)); };
  for (int i = 0; i < n; ++i) {
    const float a = __bfloat162float(x[i]), b = __bfloat162float(x[i + 1]), c = __bfloat162float(x[i + 2]);
    const float* o = &y[8 * i];
    EXPECT_EQ(o[0], round(double(a) * b + c));
    EXPECT_EQ(o[1], round(double(a) + b));
    EXPECT_EQ(o[2], round(double(a) * b));
    EXPECT_CLOSE(o[3], std::exp(a), 1e-2);
    EXPECT_EQ(o[4], std::min(a, b) + float(a < b));
    EXPECT_EQ(o[5], round(double(a) * c + b));
    EXPECT_EQ(o[6], round(double(b) * a + b));
    EXPECT_EQ(o[7], round(0.1f * i) + round(-0.3f * i));
  }
}

}  // namespace
