// Row-wise operations and transfers of the reference backend.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/reference/reference_backend.h"
#include "runtime/base/float16.h"

namespace octet {

void ReferenceBackend::upload(const void* host, TensorView destination, Stream&) {
  copy_bytes(destination.data, host, destination.num_bytes());
}

void ReferenceBackend::download(TensorView source, void* host, Stream&) {
  copy_bytes(host, source.data, source.num_bytes());
}

void ReferenceBackend::copy(TensorView source, TensorView destination, Stream&) {
  OCTET_CHECK(source.dtype == destination.dtype && source.num_elements() == destination.num_elements());
  copy_bytes(destination.data, source.data, source.num_bytes());
}

void ReferenceBackend::convert(TensorView source, TensorView destination, Stream&) {
  OCTET_CHECK(source.num_elements() == destination.num_elements());
  if (source.dtype == DType::kF32) {
    write_from_f32(source.as<float>(), source.num_elements(), destination.dtype,
                   static_cast<std::byte*>(destination.data));
  } else {
    read_as_f32(static_cast<const std::byte*>(source.data), source.dtype, source.num_elements(),
                destination.as<float>());
  }
}

void ReferenceBackend::round_to_bf16(TensorView x, Stream&) {
  for (int64_t i = 0; i < x.num_elements(); ++i) x.as<float>()[i] = bf16_to_f32(f32_to_bf16(x.as<float>()[i]));
}

void ReferenceBackend::embed(TensorView ids, TensorView table, TensorView out, Stream&) {
  const int64_t width = out.row_elements();
  for (int64_t r = 0; r < out.rows(); ++r) {
    const TensorView row = table.slice_rows(ids.as<int32_t>()[r], 1);
    read_as_f32(static_cast<const std::byte*>(row.data), table.dtype, width, out.as<float>() + r * width);
  }
}

void ReferenceBackend::gather_rows(TensorView source, TensorView row_index, TensorView out, Stream&) {
  const int64_t row_bytes = out.row_elements() * dtype_size(out.dtype);
  for (int64_t r = 0; r < out.rows(); ++r) {
    std::memcpy(static_cast<std::byte*>(out.data) + r * row_bytes,
                static_cast<const std::byte*>(source.data) + row_index.as<int32_t>()[r] * row_bytes,
                static_cast<size_t>(row_bytes));
  }
}

void ReferenceBackend::copy_columns(TensorView source, TensorView out, int64_t first_column, Stream&) {
  const int64_t width = source.row_elements();
  OCTET_CHECK(first_column + width <= out.row_elements());
  for (int64_t r = 0; r < source.rows(); ++r) {
    std::copy_n(source.as<float>() + r * width, width, out.as<float>() + r * out.row_elements() + first_column);
  }
}

void ReferenceBackend::add(TensorView x, TensorView delta, Stream&) {
  for (int64_t i = 0; i < x.num_elements(); ++i) x.as<float>()[i] += delta.as<float>()[i];
}

void ReferenceBackend::rms_norm(TensorView x, TensorView weight, float eps, TensorView y, Stream&) {
  const int64_t width = x.row_elements();
  for (int64_t r = 0; r < x.rows(); ++r) {
    const float* in = x.as<float>() + r * width;
    float* out = y.as<float>() + r * width;
    float sum = 0;
    for (int64_t i = 0; i < width; ++i) sum += in[i] * in[i];
    const float scale = 1.0F / std::sqrt(sum / static_cast<float>(width) + eps);
    for (int64_t i = 0; i < width; ++i) out[i] = in[i] * scale * weight.as<float>()[i];
  }
}

}  // namespace octet
