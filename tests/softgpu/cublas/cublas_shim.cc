// Replacement for the matrix products of cuBLAS. Matrices are column major; sums are accumulated
// in float, in the order of k.

#pragma GCC visibility push(default)
#include <cublas_v2.h>
#pragma GCC visibility pop

#include <algorithm>
#include <cstdio>
#include <vector>

#include "tests/softgpu/base/numeric.h"
#include "tests/softgpu/cudart/runtime_api.h"

using octet::softgpu::BFloat;
using octet::softgpu::Half;
using octet::softgpu::u64;

// What a handle remembers.
struct cublasContext {
  cudaStream_t stream = nullptr;
  cublasPointerMode_t pointer_mode = CUBLAS_POINTER_MODE_HOST;
  cublasMath_t math_mode = CUBLAS_DEFAULT_MATH;
};

namespace {

unsigned size_of(cudaDataType type) {
  switch (type) {
    case CUDA_R_32F:
      return 4;
    case CUDA_R_16F:
    case CUDA_R_16BF:
      return 2;
    default:
      return 0;
  }
}

// A matrix operand: op(X) is rows x columns.
struct Operand {
  const void* data;
  cudaDataType type;
  u64 leading;
  bool transposed;
};

struct Gemm {
  u64 m, n, k;
  Operand a, b;
  void* c;
  cudaDataType c_type;
  u64 ldc;
  float alpha, beta;
};

template <class F>
auto with_element(cudaDataType type, F f) {
  switch (type) {
    case CUDA_R_16F:
      return f(Half{});
    case CUDA_R_16BF:
      return f(BFloat{});
    default:
      return f(float{});
  }
}

constexpr u64 kPanel = 64;  // rows of op(A) that are worked on together
constexpr u64 kColumns = 4;

// Widens op(X), rows x columns, into `out`, where element (r, c) goes to out[index(r, c)].
template <class Index>
void widen(const Operand& x, u64 rows, u64 columns, float* out, Index index) {
  with_element(x.type, [&]<class T>(T) {
    const u64 outer = x.transposed ? rows : columns, inner = x.transposed ? columns : rows;
    for (u64 o = 0; o < outer; ++o) {  // in the order of memory; what lies between need not be initialised
      const void* first = static_cast<const T*>(x.data) + o * x.leading;
      const T* data = reinterpret_cast<const T*>(octet::softgpu::api::readable(first, inner * sizeof(T), "cuBLAS"));
      for (u64 i = 0; i < inner; ++i) out[x.transposed ? index(o, i) : index(i, o)] = float(data[i]);
    }
  });
}

void run(const Gemm& g) {
  if (g.m == 0 || g.n == 0) return;
  const u64 panels = (g.m + kPanel - 1) / kPanel;
  std::vector<float> a(panels * kPanel * g.k, 0.f), b(g.k * g.n);
  if (g.k && g.alpha != 0) {
    widen(g.a, g.m, g.k, a.data(), [&](u64 r, u64 p) { return (r / kPanel * g.k + p) * kPanel + r % kPanel; });
    widen(g.b, g.k, g.n, b.data(), [&](u64 p, u64 c) { return c * g.k + p; });
  }
  with_element(g.c_type, [&]<class T>(T) {
    std::vector<T*> c(g.n);  // columns
    for (u64 j = 0; j < g.n; ++j) {
      void* first = static_cast<T*>(g.c) + j * g.ldc;
      if (g.beta != 0) octet::softgpu::api::readable(first, g.m * sizeof(T), "cuBLAS");
      c[j] = reinterpret_cast<T*>(octet::softgpu::api::writable(first, g.m * sizeof(T), "cuBLAS"));
    }
    for (u64 panel = 0; panel < panels; ++panel) {
      const float* const rows = a.data() + panel * kPanel * g.k;
      for (u64 j0 = 0; j0 < g.n; j0 += kColumns) {
        const u64 columns = std::min(kColumns, g.n - j0);
        float sum[kColumns][kPanel] = {};
        for (u64 p = 0; p < g.k; ++p)
          for (u64 j = 0; j < columns; ++j) {
            const float factor = b[(j0 + j) * g.k + p];
            for (u64 i = 0; i < kPanel; ++i) sum[j][i] += rows[p * kPanel + i] * factor;
          }
        for (u64 j = 0; j < columns; ++j)
          for (u64 i = panel * kPanel; i < std::min(g.m, (panel + 1) * kPanel); ++i) {
            T& element = c[j0 + j][i];
            const float old = g.beta == 0 ? 0.f : g.beta * float(element);
            element = T(g.alpha * sum[j][i - panel * kPanel] + old);
          }
      }
    }
  });
}

cublasStatus_t fail(const char* why, cublasStatus_t status = CUBLAS_STATUS_INVALID_VALUE) {
  std::fprintf(stderr, "softgpu: cuBLAS: %s\n", why);
  return status;
}

// Scalars are floats (or doubles, or halves) as the compute type says.
float scalar(const void* p, cublasComputeType_t compute) {
  switch (compute) {
    case CUBLAS_COMPUTE_16F:
    case CUBLAS_COMPUTE_16F_PEDANTIC:
      return float(*static_cast<const Half*>(p));
    case CUBLAS_COMPUTE_64F:
    case CUBLAS_COMPUTE_64F_PEDANTIC:
      return float(*static_cast<const double*>(p));
    default:
      return *static_cast<const float*>(p);
  }
}

const char* complain(cublasHandle_t handle, const Gemm& g) {
  if (!handle) return "null handle";
  if (!size_of(g.a.type) || !size_of(g.b.type) || !size_of(g.c_type)) return "unsupported data type";
  if (g.a.type != g.b.type) return "A and B differ in type";
  if (g.a.leading < std::max<u64>(1, g.a.transposed ? g.k : g.m)) return "lda is too small";
  if (g.b.leading < std::max<u64>(1, g.b.transposed ? g.n : g.k)) return "ldb is too small";
  if (g.ldc < std::max<u64>(1, g.m)) return "ldc is too small";
  return nullptr;
}

Gemm describe(cublasOperation_t ta, cublasOperation_t tb, long m, long n, long k, cudaDataType at, long lda,
              cudaDataType bt, long ldb, cudaDataType ct, long ldc) {
  return {u64(m),
          u64(n),
          u64(k),
          {nullptr, at, u64(lda), ta != CUBLAS_OP_N},
          {nullptr, bt, u64(ldb), tb != CUBLAS_OP_N},
          nullptr,
          ct,
          u64(ldc),
          1.f,
          0.f};
}

// Host scalars are read now, device scalars when the product runs.
struct Scalars {
  const void *alpha, *beta;
  cublasComputeType_t compute;
  bool on_device;
  float host_alpha = 0, host_beta = 0;

  Scalars(cublasHandle_t handle, const void* a, const void* b, cublasComputeType_t type)
      : alpha(a), beta(b), compute(type), on_device(handle && handle->pointer_mode == CUBLAS_POINTER_MODE_DEVICE) {
    if (!on_device) host_alpha = scalar(alpha, compute), host_beta = scalar(beta, compute);
  }
  void apply(Gemm& g) const {
    g.alpha = on_device ? scalar(octet::softgpu::api::readable(alpha, 4, "cuBLAS"), compute) : host_alpha;
    g.beta = on_device ? scalar(octet::softgpu::api::readable(beta, 4, "cuBLAS"), compute) : host_beta;
  }
};

template <class Work>
cublasStatus_t submit(cublasHandle_t handle, const Gemm& g, const char* what, Work work) {
  if (const char* problem = complain(handle, g)) return fail(problem);
  return octet::softgpu::api::enqueue(handle->stream, what, work) == cudaSuccess ? CUBLAS_STATUS_SUCCESS
                                                                                 : CUBLAS_STATUS_EXECUTION_FAILED;
}

cublasStatus_t strided(cublasHandle_t handle, Gemm g, Scalars scalars, const void* a, u64 stride_a, const void* b,
                       u64 stride_b, void* c, u64 stride_c, u64 count) {
  return submit(handle, g, "gemm", [=]() mutable {
    scalars.apply(g);
    for (u64 i = 0; i < count; ++i) {
      g.a.data = static_cast<const std::byte*>(a) + i * stride_a * size_of(g.a.type);
      g.b.data = static_cast<const std::byte*>(b) + i * stride_b * size_of(g.b.type);
      g.c = static_cast<std::byte*>(c) + i * stride_c * size_of(g.c_type);
      run(g);
    }
  });
}

// What the grouped product takes (cuBLAS documentation, cublasGemmGroupedBatchedEx): fewer types than the others.
const char* complain_of_group(cublasHandle_t handle, cudaDataType type, cudaDataType c_type,
                              cublasComputeType_t compute) {
  if (handle && handle->pointer_mode == CUBLAS_POINTER_MODE_DEVICE) return "grouped products take host scalars only";
  if (compute != CUBLAS_COMPUTE_32F) return "unsupported compute type of a grouped product";
  return type == c_type ? nullptr : "A and C of a grouped product differ in type";
}

// The same: addresses of 16-bit matrices.
u64 group_alignment(const Gemm& g) {
  const u64 row_bytes = g.k * size_of(g.a.type);
  return g.a.type == CUDA_R_32F ? 4 : row_bytes % 16 == 0 ? 16 : row_bytes % 4 == 0 ? 4 : 2;
}

// The pointer arrays of batched products lie in device memory. alignment: of the addresses in them.
void run_batch(Gemm g, const void* const* a, const void* const* b, void* const* c, u64 count, u64 alignment) {
  const auto pointers = [count](const void* array) {
    std::vector<void*> list(count);
    std::memcpy(list.data(), octet::softgpu::api::readable(array, count * sizeof(void*), "cuBLAS pointer array"),
                count * sizeof(void*));
    return list;
  };
  const auto as = pointers(a), bs = pointers(b), cs = pointers(c);
  for (u64 i = 0; i < count; ++i) {
    g.a.data = as[i], g.b.data = bs[i], g.c = cs[i];
    for (const void* matrix : {as[i], bs[i], cs[i]}) {
      if (u64(matrix) % alignment == 0) continue;
      throw octet::softgpu::DeviceFault(cudaErrorMisalignedAddress,
                                        octet::softgpu::format("cuBLAS: matrix at %p, not at a multiple of %llu bytes",
                                                               matrix, (unsigned long long)alignment));
    }
    run(g);
  }
}

}  // namespace

extern "C" {

cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) { return *handle = new cublasContext, CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) { return delete handle, CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasGetVersion_v2(cublasHandle_t, int* version) {
  return *version = CUBLAS_VERSION, CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
  return handle->stream = stream, CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasGetStream_v2(cublasHandle_t handle, cudaStream_t* stream) {
  return *stream = handle->stream, CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) {
  return handle->math_mode = mode, CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasGetMathMode(cublasHandle_t handle, cublasMath_t* mode) {
  return *mode = handle->math_mode, CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetPointerMode_v2(cublasHandle_t handle, cublasPointerMode_t mode) {
  return handle->pointer_mode = mode, CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasGetPointerMode_v2(cublasHandle_t handle, cublasPointerMode_t* mode) {
  return *mode = handle->pointer_mode, CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetAtomicsMode(cublasHandle_t, cublasAtomicsMode_t) { return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSetSmCountTarget(cublasHandle_t, int) { return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t, void* workspace, std::size_t bytes) {
  return bytes == 0 || octet::softgpu::api::is_device_accessible(workspace) ? CUBLAS_STATUS_SUCCESS
                                                                            : fail("workspace is not device memory");
}

const char* cublasGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
    default:
      return "CUBLAS_STATUS_INTERNAL_ERROR";
  }
}
const char* cublasGetStatusString(cublasStatus_t status) { return cublasGetStatusName(status); }

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int m,
                                          int n, int k, const void* alpha, const void* a, cudaDataType at, int lda,
                                          long long stride_a, const void* b, cudaDataType bt, int ldb,
                                          long long stride_b, const void* beta, void* c, cudaDataType ct, int ldc,
                                          long long stride_c, int count, cublasComputeType_t compute,
                                          cublasGemmAlgo_t) {
  return strided(handle, describe(ta, tb, m, n, k, at, lda, bt, ldb, ct, ldc), {handle, alpha, beta, compute}, a,
                 u64(stride_a), b, u64(stride_b), c, u64(stride_c), u64(count));
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k,
                            const void* alpha, const void* a, cudaDataType at, int lda, const void* b, cudaDataType bt,
                            int ldb, const void* beta, void* c, cudaDataType ct, int ldc, cublasComputeType_t compute,
                            cublasGemmAlgo_t algorithm) {
  return cublasGemmStridedBatchedEx(handle, ta, tb, m, n, k, alpha, a, at, lda, 0, b, bt, ldb, 0, beta, c, ct, ldc, 0,
                                    1, compute, algorithm);
}

cublasStatus_t cublasSgemm_v2(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k,
                              const float* alpha, const float* a, int lda, const float* b, int ldb, const float* beta,
                              float* c, int ldc) {
  return cublasGemmEx(handle, ta, tb, m, n, k, alpha, a, CUDA_R_32F, lda, b, CUDA_R_32F, ldb, beta, c, CUDA_R_32F, ldc,
                      CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
}

cublasStatus_t cublasSgemmStridedBatched(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int m,
                                         int n, int k, const float* alpha, const float* a, int lda, long long stride_a,
                                         const float* b, int ldb, long long stride_b, const float* beta, float* c,
                                         int ldc, long long stride_c, int count) {
  return cublasGemmStridedBatchedEx(handle, ta, tb, m, n, k, alpha, a, CUDA_R_32F, lda, stride_a, b, CUDA_R_32F, ldb,
                                    stride_b, beta, c, CUDA_R_32F, ldc, stride_c, count, CUBLAS_COMPUTE_32F,
                                    CUBLAS_GEMM_DEFAULT);
}

cublasStatus_t cublasGemmBatchedEx(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int m, int n,
                                   int k, const void* alpha, const void* const a[], cudaDataType at, int lda,
                                   const void* const b[], cudaDataType bt, int ldb, const void* beta, void* const c[],
                                   cudaDataType ct, int ldc, int count, cublasComputeType_t compute, cublasGemmAlgo_t) {
  Gemm g = describe(ta, tb, m, n, k, at, lda, bt, ldb, ct, ldc);
  const Scalars scalars(handle, alpha, beta, compute);
  return submit(handle, g, "batched-gemm", [=]() mutable {
    scalars.apply(g);
    run_batch(g, a, b, c, u64(count), size_of(g.a.type));
  });
}

cublasStatus_t cublasGemmGroupedBatchedEx(cublasHandle_t handle, const cublasOperation_t ta[],
                                          const cublasOperation_t tb[], const int m[], const int n[], const int k[],
                                          const void* alpha, const void* const a[], cudaDataType at, const int lda[],
                                          const void* const b[], cudaDataType bt, const int ldb[], const void* beta,
                                          void* const c[], cudaDataType ct, const int ldc[], int groups,
                                          const int sizes[], cublasComputeType_t compute) {
  if (const char* problem = complain_of_group(handle, at, ct, compute))
    return fail(problem, CUBLAS_STATUS_NOT_SUPPORTED);
  std::vector<Gemm> products;
  std::vector<u64> counts;
  for (int i = 0; i < groups; ++i) {
    Gemm g = describe(ta[i], tb[i], m[i], n[i], k[i], at, lda[i], bt, ldb[i], ct, ldc[i]);
    if (const char* problem = complain(handle, g)) return fail(problem);
    g.alpha = static_cast<const float*>(alpha)[i];
    g.beta = static_cast<const float*>(beta)[i];
    products.push_back(g);
    counts.push_back(u64(sizes[i]));
  }
  if (products.empty()) return CUBLAS_STATUS_SUCCESS;
  return submit(handle, products.front(), "grouped-gemm", [=] {
    u64 first = 0;
    for (std::size_t i = 0; i < products.size(); first += counts[i++])
      run_batch(products[i], a + first, b + first, c + first, counts[i], group_alignment(products[i]));
  });
}

}  // extern "C"
