#include "kernels/weight_format.h"

namespace octet {

DType WeightFormat::dtype() const {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    if (*this == WeightFormat(dtype)) return dtype;
  }
  OCTET_CHECK(false, "{} bits in groups of {} are no plain floating-point type", element.bits, group);
}

}  // namespace octet
