// Weights and products of the CUDA backend.
#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/cuda_check.h"
#include "kernels/cuda/cuda_element.h"
#include "kernels/cuda/grouped_blas.h"
#include "kernels/cuda/products.h"

namespace octet {
namespace {

int64_t stride_of(int64_t num_inputs) {
  return (num_inputs + cuda::kStrideUnit - 1) / cuda::kStrideUnit * cuda::kStrideUnit;
}

// Where row `row` of the prepared matrix comes from.
struct SourceRow {
  const MatrixSource* part;
  int64_t row;
};

SourceRow source_of(const WeightSpec& spec, int64_t row) {
  if (spec.gated) return {&spec.parts[static_cast<size_t>(row % 2)], row / 2};
  for (const MatrixSource& part : spec.parts) {
    if (row < part.num_rows) return {&part, row};
    row -= part.num_rows;
  }
  OCTET_CHECK(false, "no row {}", row);
  return {};
}

// One row in the weight's type, padded with zeros. `widened` is scratch of num_columns floats.
void write_row(const SourceRow& source, DType dtype, int64_t stride, std::vector<float>& widened, std::byte* out) {
  const MatrixSource& part = *source.part;
  const size_t bytes = static_cast<size_t>(part.num_columns * dtype_size(dtype));
  if (part.format == WeightFormat(dtype)) {
    std::memcpy(out, part.row(source.row), bytes);
  } else {
    read_as_f32(part.row(source.row), part.format.dtype(), part.num_columns, widened.data());
    write_from_f32(widened.data(), part.num_columns, dtype, out);
  }
  std::memset(out + bytes, 0, static_cast<size_t>(stride * dtype_size(dtype)) - bytes);
}

cudaDataType_t blas_type(DType dtype) { return dtype == DType::kBF16 ? CUDA_R_16BF : CUDA_R_16F; }

// Up to so many assignments an expert the weights are streamed: an instruction's columns.
constexpr int64_t kStreamRows = 8;

std::vector<const void*> addresses_of(const std::vector<Weight>& weights) {
  std::vector<const void*> addresses;
  for (const Weight& weight : weights) addresses.push_back(weight.storage.data());
  return addresses;
}

void run_grouped(cuda::GroupedArgs& args, const void* narrowed, cudaStream_t stream) {
  if (narrowed == nullptr) {
    cuda::grouped_stream(args, stream);
  } else {
    args.x = narrowed;
    cuda::grouped_tiles(args, stream);
  }
}

cuda::GroupedArgs grouped_args(TensorView x, const Weight& weight, TensorView y) {
  cuda::GroupedArgs args{};
  args.x = x.data;
  args.y = y.as<float>();
  args.element = cuda_element(weight.format.dtype());
  args.num_rows = static_cast<int>(x.rows());
  args.max_assignments = static_cast<int>(y.rows());
  args.num_inputs = static_cast<int>(weight.num_inputs);
  args.num_outputs = static_cast<int>(weight.num_outputs);
  args.stride = static_cast<int>(stride_of(weight.num_inputs));
  args.gated = weight.gated;
  return args;
}

}  // namespace

Weight CudaBackend::prepare(const WeightSpec& spec) {
  const DType dtype = spec.format.dtype();
  OCTET_CHECK(dtype_size(dtype) == 2, "weights in {}", dtype_name(dtype));
  Weight weight{spec.format, spec.gated, spec.num_inputs(), spec.num_outputs(), spec.partial_bounds, {}};
  const int64_t num_rows = weight.num_outputs * (spec.gated ? 2 : 1);
  const int64_t stride = stride_of(weight.num_inputs);
  const size_t row_bytes = static_cast<size_t>(weight.format.row_bytes(stride));
  weight.storage = allocate(static_cast<size_t>(matrix_bytes(weight.format, num_rows, stride)));
  const auto rows_at_once = static_cast<int64_t>(CudaStream::kPinnedPiece / std::max<size_t>(row_bytes, 1));
  OCTET_CHECK(rows_at_once > 0, "rows of {} bytes", row_bytes);
  std::vector<float> widened(static_cast<size_t>(weight.num_inputs));
  for (int64_t begin = 0; begin < num_rows; begin += rows_at_once) {
    const int64_t count = std::min(rows_at_once, num_rows - begin);
    const size_t bytes = static_cast<size_t>(count) * row_bytes;
    std::byte* pinned = loader_.reserve_pinned(bytes);
    for (int64_t r = 0; r < count; ++r) {
      write_row(source_of(spec, begin + r), dtype, stride, widened, pinned + static_cast<size_t>(r) * row_bytes);
    }
    loader_.upload_pinned(pinned, weight.storage.data() + static_cast<size_t>(begin) * row_bytes, bytes);
  }
  loader_.synchronize();
  return weight;
}

const void* CudaBackend::narrow(TensorView x, const Weight& weight, CudaStream& stream) const {
  const int64_t stride = stride_of(weight.num_inputs);
  void* rows = stream.scratch(CudaStream::Scratch::kRows,
                              static_cast<size_t>(x.rows() * stride * dtype_size(weight.format.dtype())));
  cuda::narrow_rows({x.as<float>(), nullptr, rows, cuda_element(weight.format.dtype()), static_cast<int>(x.rows()),
                     static_cast<int>(weight.num_inputs), static_cast<int>(stride)},
                    stream.get());
  return rows;
}

void CudaBackend::gemm(TensorView x, const Weight& weight, TensorView y, Stream& stream) {
  CudaStream& on = use(stream);
  if (x.rows() == 0 || weight.num_outputs == 0) return;
  const int stride = static_cast<int>(stride_of(weight.num_inputs));
  const int num_rows = static_cast<int>(x.rows());
  if (weight.gated) {
    cuda::GroupedArgs args = grouped_args(x, weight, y);
    args.num_experts = 1;
    args.weight = weight.storage.data();
    run_grouped(args, num_rows <= kStreamRows ? nullptr : narrow(x, weight, on), on.get());
    return;
  }
  if (weight.num_outputs <= cuda::kMaxThinOutputs) {
    cuda::thin_product({weight.storage.data(), x.as<float>(), y.as<float>(), cuda_element(weight.format.dtype()),
                        num_rows, static_cast<int>(weight.num_inputs), static_cast<int>(weight.num_outputs), stride},
                       on.get());
    return;
  }
  // cuBLAS counts by columns: it sees the transposes of all three matrices.
  const void* rows = narrow(x, weight, on);
  const float one = 1;
  const float zero = 0;
  const cudaDataType_t type = blas_type(weight.format.dtype());
  OCTET_CUBLAS_CHECK(cublasGemmEx(on.blas(), CUBLAS_OP_T, CUBLAS_OP_N, static_cast<int>(weight.num_outputs), num_rows,
                                  stride, &one, weight.storage.data(), type, stride, rows, type, stride, &zero,
                                  y.as<float>(), CUDA_R_32F, static_cast<int>(weight.num_outputs), CUBLAS_COMPUTE_32F,
                                  CUBLAS_GEMM_DEFAULT));
}

WeightGroup CudaBackend::group(std::vector<Weight> weights) {
  WeightGroup group{std::move(weights), {}};
  if (group.weights.empty()) return group;
  const std::vector<const void*> addresses = addresses_of(group.weights);
  const size_t bytes = addresses.size() * sizeof(void*);
  group.addresses = allocate(bytes);
  loader_.upload(addresses.data(), group.addresses.data(), bytes);
  loader_.synchronize();
  return group;
}

Weight CudaBackend::replace(WeightGroup& group, size_t index, Weight weight, Stream& stream) {
  const void* address = weight.storage.data();
  Weight old = Backend::replace(group, index, std::move(weight), stream);
  use(stream).upload(&address, group.addresses.data() + index * sizeof(void*), sizeof(void*));
  return old;
}

void CudaBackend::grouped_gemm(TensorView x, const ExpertGroups& groups, const WeightGroup& experts, TensorView y,
                               Stream& stream) {
  CudaStream& on = use(stream);
  const std::vector<Weight>& weights = experts.weights;
  if (weights.empty() || y.rows() == 0 || x.rows() == 0) return;
  cuda::GroupedArgs args = grouped_args(x, weights.front(), y);
  args.assignment_row = groups.assignment_row.data == nullptr ? nullptr : groups.assignment_row.as<int32_t>();
  if (!groups.host_offsets.empty()) args.max_assignments = groups.host_offsets.back();
  if (cuda::suits_grouped_blas(groups.host_offsets)) {
    cuda::grouped_blas(args, addresses_of(weights), groups.host_offsets, on);
    return;
  }
  args.weights = reinterpret_cast<const void* const*>(experts.addresses.data());
  args.num_experts = static_cast<int>(weights.size());
  args.offsets = groups.offsets.as<int32_t>();
  const bool streams = args.max_assignments <= kStreamRows * std::ssize(weights);
  run_grouped(args, streams ? nullptr : narrow(x, weights.front(), on), on.get());
}

}  // namespace octet
