// DType as the kernels name it.
#pragma once

#include "kernels/cuda/row_kernels.h"
#include "runtime/base/tensor.h"

namespace octet {

inline cuda::Element cuda_element(DType dtype) {
  if (dtype == DType::kBF16) return cuda::Element::kBF16;
  if (dtype == DType::kF16) return cuda::Element::kF16;
  OCTET_CHECK(dtype == DType::kF32, "{} is not a floating-point type", dtype_name(dtype));
  return cuda::Element::kF32;
}

}  // namespace octet
