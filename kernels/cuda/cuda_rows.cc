// Row-wise operations, routing and combining of the CUDA backend.
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/cuda_element.h"
#include "kernels/cuda/moe_kernels.h"

namespace octet {

void CudaBackend::embed(TensorView ids, TensorView table, TensorView out, Stream& stream) {
  cuda::embed({ids.as<int32_t>(), table.data, cuda_element(table.dtype), out.as<float>(), static_cast<int>(out.rows()),
               static_cast<int>(out.row_elements())},
              use(stream).get());
}

void CudaBackend::gather_rows(TensorView source, TensorView row_index, TensorView out, Stream& stream) {
  OCTET_CHECK(source.dtype == out.dtype);
  cuda::gather_rows({source.data, row_index.as<int32_t>(), out.data, static_cast<int>(out.rows()),
                     out.row_elements() * dtype_size(out.dtype)},
                    use(stream).get());
}

void CudaBackend::add(TensorView x, TensorView delta, Stream& stream) {
  cuda::add(x.as<float>(), delta.as<float>(), x.num_elements(), use(stream).get());
}

void CudaBackend::rms_norm(TensorView x, TensorView weight, float eps, TensorView y, Stream& stream) {
  cuda::rms_norm({x.as<float>(), weight.as<float>(), y.as<float>(), eps, static_cast<int>(x.rows()),
                  static_cast<int>(x.row_elements())},
                 use(stream).get());
}

void CudaBackend::route_top_k(TensorView logits, TensorView ids, TensorView weights, Stream& stream) {
  cuda::route_top_k({logits.as<float>(), ids.as<int32_t>(), weights.as<float>(), static_cast<int>(logits.rows()),
                     static_cast<int>(logits.row_elements()), static_cast<int>(ids.row_elements())},
                    use(stream).get());
}

void CudaBackend::group_by_expert(TensorView ids, TensorView local_expert, const ExpertGroups& groups, Stream& stream) {
  cuda::group_by_expert(
      {ids.as<int32_t>(), local_expert.as<int32_t>(), groups.offsets.as<int32_t>(), groups.assignment_row.as<int32_t>(),
       groups.slots.as<int32_t>(), static_cast<int>(ids.num_elements()), static_cast<int>(ids.row_elements()),
       static_cast<int>(groups.offsets.num_elements() - 1)},
      use(stream).get());
}

void CudaBackend::weighted_sum(TensorView y, const WeightedChoices& choices, TensorView out, Stream& stream) {
  cuda::weighted_sum(
      {y.as<float>(), choices.slots.as<int32_t>(), choices.ids.as<int32_t>(), choices.weights.as<float>(),
       out.as<float>(), static_cast<int>(out.rows()), static_cast<int>(choices.ids.row_elements()),
       static_cast<int>(out.row_elements()), choices.product_dtype == DType::kBF16},
      use(stream).get());
}

}  // namespace octet
