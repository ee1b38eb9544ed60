// The replacement of cuBLAS.

#include "tests/softgpu/test/check.h"

#include <cublas_v2.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

namespace {

#define CUBLAS(call) EXPECT_TRUE((call) == CUBLAS_STATUS_SUCCESS)

template <class T>
constexpr cudaDataType data_type() {
  return std::is_same_v<T, float> ? CUDA_R_32F : std::is_same_v<T, __half> ? CUDA_R_16F : CUDA_R_16BF;
}
float to_float(float v) { return v; }
float to_float(__half v) { return __half2float(v); }
float to_float(__nv_bfloat16 v) { return __bfloat162float(v); }
template <class T>
std::vector<T> random_matrix(std::size_t n, unsigned seed) {
  std::vector<T> values;
  for (const float f : random_floats(n, -1, 1, seed)) values.push_back(T(f));
  return values;
}

template <class T, class C>
void check_gemm(bool ta, bool tb, int m, int n, int k, float alpha, float beta, double tolerance) {
  const int lda = (ta ? k : m) + 3, ldb = (tb ? n : k) + 1, ldc = m + 2;
  const auto a = random_matrix<T>(std::size_t(lda) * (ta ? m : k), 1),
             b = random_matrix<T>(std::size_t(ldb) * (tb ? k : n), 2);
  const auto c = random_matrix<C>(std::size_t(ldc) * n, 3);
  Array<T> da(a), db(b);
  Array<C> dc(c);
  cublasHandle_t handle;
  CUBLAS(cublasCreate(&handle));
  CUBLAS(cublasGemmEx(handle, ta ? CUBLAS_OP_T : CUBLAS_OP_N, tb ? CUBLAS_OP_T : CUBLAS_OP_N, m, n, k, &alpha, da,
                      data_type<T>(), lda, db, data_type<T>(), ldb, &beta, dc, data_type<C>(), ldc, CUBLAS_COMPUTE_32F,
                      CUBLAS_GEMM_DEFAULT));
  const auto result = dc.host();
  for (int j = 0; j < n; ++j)
    for (int i = 0; i < m; ++i) {
      double sum = 0;
      for (int p = 0; p < k; ++p)
        sum += double(to_float(a[ta ? i * lda + p : p * lda + i])) * to_float(b[tb ? p * ldb + j : j * ldb + p]);
      EXPECT_CLOSE(to_float(result[j * ldc + i]), alpha * sum + beta * to_float(c[j * ldc + i]), tolerance);
    }
  CUBLAS(cublasDestroy(handle));
}

TEST(SoftgpuCublas, GemmEx) {
  check_gemm<float, float>(false, false, 70, 9, 33, 1, 0, 1e-5);
  check_gemm<float, float>(true, false, 5, 130, 64, 2, 0.5f, 1e-5);
  check_gemm<float, float>(false, true, 129, 3, 1, 1, 1, 1e-5);
  check_gemm<__nv_bfloat16, float>(true, false, 64, 17, 48, 1, 0, 1e-5);
  check_gemm<__nv_bfloat16, __nv_bfloat16>(true, true, 31, 8, 20, 1, 0, 1e-2);
  check_gemm<__half, __half>(false, false, 16, 16, 16, 1, 1, 2e-3);
}

// `batch` products of m × k and k × n: by stride and by pointers, with float results, and in two groups of which the
// second has fewer columns, with results of type T.
template <class T>
void check_batches(double group_tolerance) {
  const int m = 6, n = 5, k = 7, batch = 4, few = 2;
  const auto a = random_matrix<T>(m * k * batch, 1), b = random_matrix<T>(k * n * batch, 2);
  Array<T> da(a), db(b);
  Array<float> c1(m * n * batch), c2(m * n * batch);
  Array<T> c3(std::vector<T>(m * n * batch, T(-9.f)));
  std::vector<const void*> pa, pb;
  std::vector<void*> pc, pd;
  for (int i = 0; i < batch; ++i) {
    pa.push_back(da + i * m * k);
    pb.push_back(db + i * k * n);
    pc.push_back(c2 + i * m * n);
    pd.push_back(c3 + i * m * n);
  }
  Array<const void*> dpa(pa), dpb(pb);
  Array<void*> dpc(pc), dpd(pd);
  Array<char> workspace(1 << 20);
  cublasHandle_t handle;
  cudaStream_t stream;
  CUDA(cudaStreamCreate(&stream));
  CUBLAS(cublasCreate(&handle));
  CUBLAS(cublasSetStream(handle, stream));
  CUBLAS(cublasSetWorkspace(handle, workspace, 1 << 20));
  CUBLAS(cublasSetMathMode(handle, CUBLAS_DEFAULT_MATH));
  const float one = 1, zero = 0;
  const cudaDataType type = data_type<T>();
  // Captured, as products of a decode step are.
  CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  CUBLAS(cublasGemmStridedBatchedEx(handle, CUBLAS_OP_N, CUBLAS_OP_N, m, n, k, &one, da, type, m, m * k, db, type, k,
                                    k * n, &zero, c1, CUDA_R_32F, m, m * n, batch, CUBLAS_COMPUTE_32F,
                                    CUBLAS_GEMM_DEFAULT));
  CUBLAS(cublasGemmBatchedEx(handle, CUBLAS_OP_N, CUBLAS_OP_N, m, n, k, &one, dpa, type, m, dpb, type, k, &zero, dpc,
                             CUDA_R_32F, m, batch, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
  const cublasOperation_t none[2] = {CUBLAS_OP_N, CUBLAS_OP_N};
  const int ms[2] = {m, m}, ns[2] = {n, few}, ks[2] = {k, k}, sizes[2] = {1, 3};
  const float ones[2] = {1, 1}, zeros[2] = {0, 0};
  CUBLAS(cublasGemmGroupedBatchedEx(handle, none, none, ms, ns, ks, ones, dpa, type, ms, dpb, type, ks, zeros, dpd,
                                    type, ms, 2, sizes, CUBLAS_COMPUTE_32F));
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  CUDA(cudaStreamEndCapture(stream, &graph));
  CUDA(cudaGraphInstantiate(&exec, graph));
  CUDA(cudaGraphLaunch(exec, stream));
  CUDA(cudaStreamSynchronize(stream));
  const auto r1 = c1.host();
  const auto r3 = c3.host();
  for (int i = 0; i < batch; ++i)
    for (int c = 0; c < n; ++c)
      for (int r = 0; r < m; ++r) {
        double sum = 0;
        for (int p = 0; p < k; ++p)
          sum += double(to_float(a[i * m * k + p * m + r])) * to_float(b[i * k * n + c * k + p]);
        const int at = i * m * n + c * m + r;
        EXPECT_CLOSE(r1[at], sum, 1e-5);
        EXPECT_CLOSE(to_float(r3[at]), i == 0 || c < few ? sum : -9, group_tolerance);
      }
  EXPECT_EQ(c2.host(), r1);
  CUDA(cudaGraphExecDestroy(exec));
  CUDA(cudaGraphDestroy(graph));
  CUBLAS(cublasDestroy(handle));
  CUDA(cudaStreamDestroy(stream));
}

TEST(SoftgpuCublas, StridedPointerAndGroupedBatches) {
  check_batches<float>(1e-5);
  check_batches<__half>(0x1p-11);
  check_batches<__nv_bfloat16>(0x1p-8);
}

TEST(SoftgpuCublas, BadArgumentsAreRefused) {
  cublasHandle_t handle;
  CUBLAS(cublasCreate(&handle));
  Array<float> x(100);
  const float one = 1, zero = 0;
  EXPECT_EQ(cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, 10, 1, 10, &one, x, 9, x, 10, &zero, x, 10),
            CUBLAS_STATUS_INVALID_VALUE);
  // A grouped product takes less than the others: results of the operands' type, scalars in host memory.
  const cublasOperation_t none = CUBLAS_OP_N;
  const int size = 8, count = 1;
  Array<const void*> inputs(std::vector<const void*>{x.get()});
  Array<void*> outputs(std::vector<void*>{x.get()});
  const auto grouped = [&](cudaDataType type, cudaDataType result, cublasComputeType_t compute) {
    return cublasGemmGroupedBatchedEx(handle, &none, &none, &size, &size, &size, &one, inputs, type, &size, inputs,
                                      type, &size, &zero, outputs, result, &size, 1, &count, compute);
  };
  EXPECT_EQ(grouped(CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(grouped(CUDA_R_16F, CUDA_R_16F, CUBLAS_COMPUTE_16F), CUBLAS_STATUS_NOT_SUPPORTED);
  CUBLAS(cublasSetPointerMode(handle, CUBLAS_POINTER_MODE_DEVICE));
  EXPECT_EQ(grouped(CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F), CUBLAS_STATUS_NOT_SUPPORTED);
  CUBLAS(cublasDestroy(handle));
}

}  // namespace
