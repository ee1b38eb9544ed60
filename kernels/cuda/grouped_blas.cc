#include "kernels/cuda/grouped_blas.h"

#include <algorithm>
#include <vector>

#include "kernels/cuda/cuda_check.h"
#include "runtime/base/check.h"

namespace octet::cuda {

#if CUBLAS_VERSION >= 120500

namespace {

constexpr int kElementBytes = 2;
constexpr int kStrideElements = 16 / kElementBytes;  // of the outputs

// A product of one expert's rows each; cuBLAS reads sizes from the host and addresses from the device.
struct Products {
  std::vector<int> num_rows;
  std::vector<const void*> addresses;  // of the weights, then the rows, then the outputs

  int count() const { return static_cast<int>(num_rows.size()); }
};

// Rows and outputs of all experts lie one after the other.
Products list_products(std::span<const void* const> weights, std::span<const int32_t> offsets, const std::byte* rows,
                       int64_t row_bytes, const std::byte* outputs, int64_t output_bytes) {
  Products products;
  std::vector<const void*> row_addresses, output_addresses;
  for (size_t e = 0; e < weights.size(); ++e) {
    if (offsets[e] == offsets[e + 1]) continue;
    products.num_rows.push_back(offsets[e + 1] - offsets[e]);
    products.addresses.push_back(weights[e]);
    row_addresses.push_back(rows + offsets[e] * row_bytes);
    output_addresses.push_back(outputs + offsets[e] * output_bytes);
  }
  for (const auto& more : {row_addresses, output_addresses})
    products.addresses.insert(products.addresses.end(), more.begin(), more.end());
  return products;
}

// cuBLAS counts by columns: it sees the transposes of all three matrices.
void multiply(const Products& products, const GroupedArgs& args, int num_weight_rows, int output_stride,
              CudaStream& stream) {
  const auto count = static_cast<size_t>(products.count());
  const size_t bytes = products.addresses.size() * sizeof(void*);
  auto* addresses = static_cast<void**>(stream.scratch(CudaStream::Scratch::kAddresses, bytes));
  stream.upload(products.addresses.data(), addresses, bytes);
  const std::vector<cublasOperation_t> transposed(count, CUBLAS_OP_T), plain(count, CUBLAS_OP_N);
  const std::vector<int> outputs(count, num_weight_rows), inputs(count, args.stride);
  const std::vector<int> output_strides(count, output_stride), once(count, 1);
  const std::vector<float> ones(count, 1.0F), zeros(count, 0.0F);
  const cudaDataType_t type = args.element == Element::kBF16 ? CUDA_R_16BF : CUDA_R_16F;
  OCTET_CUBLAS_CHECK(cublasGemmGroupedBatchedEx(
      stream.blas(), transposed.data(), plain.data(), outputs.data(), products.num_rows.data(), inputs.data(),
      ones.data(), addresses, type, inputs.data(), addresses + count, type, inputs.data(), zeros.data(),
      addresses + 2 * count, type, output_strides.data(), products.count(), once.data(), CUBLAS_COMPUTE_32F));
}

}  // namespace

bool suits_grouped_blas(std::span<const int32_t> host_offsets) {
  int64_t experts_with_rows = 0;
  for (size_t e = 0; e + 1 < host_offsets.size(); ++e) experts_with_rows += host_offsets[e] < host_offsets[e + 1];
  return experts_with_rows > 0 && host_offsets.back() >= kBlasRows * experts_with_rows;
}

void grouped_blas(const GroupedArgs& args, std::span<const void* const> weights, std::span<const int32_t> host_offsets,
                  CudaStream& stream) {
  const int num_rows = host_offsets.back();
  const int num_weight_rows = args.num_outputs * (args.gated ? 2 : 1);
  const int output_stride = (num_weight_rows + kStrideElements - 1) / kStrideElements * kStrideElements;
  const int64_t row_bytes = int64_t{args.stride} * kElementBytes;
  const int64_t output_bytes = int64_t{output_stride} * kElementBytes;
  void* rows = stream.scratch(CudaStream::Scratch::kRows, static_cast<size_t>(num_rows * row_bytes));
  void* outputs = stream.scratch(CudaStream::Scratch::kOutputs, static_cast<size_t>(num_rows * output_bytes));
  narrow_rows({static_cast<const float*>(args.x), args.assignment_row, rows, args.element, num_rows, args.num_inputs,
               args.stride},
              stream.get());
  const Products products = list_products(weights, host_offsets, static_cast<const std::byte*>(rows), row_bytes,
                                          static_cast<const std::byte*>(outputs), output_bytes);
  multiply(products, args, num_weight_rows, output_stride, stream);
  widen_outputs({outputs, args.y, args.element, num_rows, args.num_outputs, output_stride, args.gated}, stream.get());
}

#else

bool suits_grouped_blas(std::span<const int32_t>) { return false; }

void grouped_blas(const GroupedArgs&, std::span<const void* const>, std::span<const int32_t>, CudaStream&) {
  OCTET_CHECK(false, "cuBLAS {} has no grouped product", CUBLAS_VERSION);
}

#endif

}  // namespace octet::cuda
