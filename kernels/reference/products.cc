// Dense and grouped products of the reference backend. A weight is kept row-major, [rows of all parts, num_inputs].
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/reference/reference_backend.h"

namespace octet {
namespace {

// The sum of partials [begin, end) of one output element: x · row, cut at `bounds`, added in the midpoint tree.
float tree_dot(const float* x, const float* row, const std::vector<int64_t>& bounds, size_t begin, size_t end) {
  if (end - begin > 1) {
    const size_t middle = (begin + end) / 2;
    return tree_dot(x, row, bounds, begin, middle) + tree_dot(x, row, bounds, middle, end);
  }
  float sum = 0;
  for (int64_t k = bounds[begin]; k < bounds[begin + 1]; ++k) sum += x[k] * row[k];
  return sum;
}

float silu(float v) { return v / (1.0F + std::exp(-v)); }

// y[r] = weight · x_row(r) for num_rows rows; a row of the weight is widened once for all of them.
template <typename RowOf>
void multiply(const Weight& weight, int64_t num_rows, const RowOf& x_row, float* y) {
  const DType dtype = weight.format.dtype();
  const int64_t row_bytes = weight.format.row_bytes(weight.num_inputs);
  const size_t num_partials = weight.partial_bounds.size() - 1;
  std::vector<float> row(static_cast<size_t>(weight.num_inputs));
  const auto dot_rows = [&](int64_t weight_row, const auto& use) {
    read_as_f32(weight.storage.data() + weight_row * row_bytes, dtype, weight.num_inputs, row.data());
    for (int64_t r = 0; r < num_rows; ++r)
      use(r, tree_dot(x_row(r), row.data(), weight.partial_bounds, 0, num_partials));
  };
  for (int64_t n = 0; n < weight.num_outputs; ++n) {
    dot_rows(n, [&](int64_t r, float dot) { y[r * weight.num_outputs + n] = weight.gated ? silu(dot) : dot; });
    if (weight.gated) {
      dot_rows(weight.num_outputs + n, [&](int64_t r, float dot) { y[r * weight.num_outputs + n] *= dot; });
    }
  }
}

}  // namespace

Weight ReferenceBackend::prepare(const WeightSpec& spec) {
  Weight weight{spec.format, spec.gated, spec.num_inputs(), spec.num_outputs(), spec.partial_bounds, {}};
  const int64_t num_rows = weight.num_outputs * (spec.gated ? 2 : 1);
  const int64_t row_bytes = weight.format.row_bytes(weight.num_inputs);
  weight.storage = allocate(static_cast<size_t>(matrix_bytes(weight.format, num_rows, weight.num_inputs)));
  std::byte* out = weight.storage.data();
  std::vector<float> row(static_cast<size_t>(weight.num_inputs));
  for (const MatrixSource& part : spec.parts) {
    for (int64_t r = 0; r < part.num_rows; ++r, out += row_bytes) {
      read_as_f32(part.row(r), part.format.dtype(), weight.num_inputs, row.data());
      write_from_f32(row.data(), weight.num_inputs, spec.format.dtype(), out);
    }
  }
  return weight;
}

void ReferenceBackend::gemm(TensorView x, const Weight& weight, TensorView y, Stream&) {
  const float* rows = x.as<float>();
  multiply(
      weight, x.rows(), [&](int64_t r) { return rows + r * weight.num_inputs; }, y.as<float>());
}

void ReferenceBackend::grouped_gemm(TensorView x, const ExpertGroups& groups, const WeightGroup& experts, TensorView y,
                                    Stream&) {
  const int32_t* bounds = groups.offsets.as<int32_t>();
  const int32_t* row_of = groups.assignment_row.data == nullptr ? nullptr : groups.assignment_row.as<int32_t>();
  for (size_t e = 0; e < experts.weights.size(); ++e) {
    const Weight& weight = experts.weights[e];
    const auto x_row = [&](int64_t i) {
      const int64_t assignment = bounds[e] + i;
      return x.as<float>() + (row_of == nullptr ? assignment : row_of[assignment]) * weight.num_inputs;
    };
    multiply(weight, bounds[e + 1] - bounds[e], x_row, y.as<float>() + bounds[e] * weight.num_outputs);
  }
}

}  // namespace octet
