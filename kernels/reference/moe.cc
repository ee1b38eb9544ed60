// Routing, grouping and combining of the reference backend.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/reference/reference_backend.h"
#include "runtime/base/float16.h"

namespace octet {

void ReferenceBackend::route_top_k(TensorView logits, TensorView ids, TensorView weights, Stream&) {
  const int64_t num_experts = logits.row_elements();
  const int64_t top_k = ids.row_elements();
  std::vector<int32_t> order(static_cast<size_t>(num_experts));
  for (int64_t r = 0; r < logits.rows(); ++r) {
    const float* row = logits.as<float>() + r * num_experts;
    int32_t* chosen = ids.as<int32_t>() + r * top_k;
    float* weight = weights.as<float>() + r * top_k;
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [row](int32_t a, int32_t b) { return row[a] > row[b]; });
    float total = 0;
    for (int64_t j = 0; j < top_k; ++j) {
      chosen[j] = order[static_cast<size_t>(j)];
      weight[j] = std::exp(row[chosen[j]] - row[order[0]]);
      total += weight[j];
    }
    for (int64_t j = 0; j < top_k; ++j) weight[j] /= total;
  }
}

void ReferenceBackend::group_by_expert(TensorView ids, TensorView local_expert, const ExpertGroups& groups, Stream&) {
  const int64_t num_choices = ids.num_elements();
  const int64_t top_k = ids.row_elements();
  const int64_t num_local = groups.offsets.num_elements() - 1;
  const auto local = [&](int64_t choice) {
    const int32_t id = ids.as<int32_t>()[choice];
    return id < 0 ? -1 : local_expert.as<int32_t>()[id];
  };
  int32_t next = 0;
  for (int64_t e = 0; e < num_local; ++e) {
    groups.offsets.as<int32_t>()[e] = next;
    for (int64_t choice = 0; choice < num_choices; ++choice) {
      if (local(choice) != e) continue;
      groups.assignment_row.as<int32_t>()[next] = static_cast<int32_t>(choice / top_k);
      groups.slots.as<int32_t>()[choice] = next++;
    }
  }
  groups.offsets.as<int32_t>()[num_local] = next;
  for (int64_t choice = 0; choice < num_choices; ++choice) {
    if (local(choice) < 0) groups.slots.as<int32_t>()[choice] = -1;
  }
}

void ReferenceBackend::weighted_sum(TensorView y, const WeightedChoices& choices, TensorView out, Stream&) {
  const int64_t width = out.row_elements();
  const int64_t top_k = choices.ids.row_elements();
  const bool rounds = choices.product_dtype == DType::kBF16;
  std::vector<int64_t> order(static_cast<size_t>(top_k));
  for (int64_t r = 0; r < out.rows(); ++r) {
    const int32_t* row_ids = choices.ids.as<int32_t>() + r * top_k;
    std::iota(order.begin(), order.end(), int64_t{0});
    std::sort(order.begin(), order.end(), [row_ids](int64_t a, int64_t b) { return row_ids[a] < row_ids[b]; });
    float* sum = out.as<float>() + r * width;
    std::fill_n(sum, width, 0.0F);
    for (const int64_t j : order) {
      const int32_t slot = choices.slots.as<int32_t>()[r * top_k + j];
      if (slot < 0) continue;
      const float weight = choices.weights.as<float>()[r * top_k + j];
      const float* values = y.as<float>() + slot * width;
      for (int64_t i = 0; i < width; ++i) {
        const float product = weight * values[i];
        sum[i] += rounds ? bf16_to_f32(f32_to_bf16(product)) : product;
      }
    }
  }
}

}  // namespace octet
