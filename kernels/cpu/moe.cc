// Routing, grouping and combining of the cpu backend.
#include <algorithm>

#include "kernels/cpu/cpu_backend.h"

namespace octet {
namespace {

// The expert that follows `chosen` in the order of falling logits (ties: rising ids).
int32_t next_expert(const float* logits, int64_t num_experts, std::span<const int32_t> chosen) {
  int32_t best = -1;
  for (int32_t e = 0; e < num_experts; ++e) {
    if (best >= 0 && !(logits[e] > logits[best])) continue;
    if (std::find(chosen.begin(), chosen.end(), e) == chosen.end()) best = e;
  }
  return best;
}

// The choice with the lowest expert id above `above`; -1 where there is none.
int64_t next_choice(const int32_t* ids, int64_t top_k, int32_t above) {
  int64_t best = -1;
  for (int64_t j = 0; j < top_k; ++j) {
    if (ids[j] > above && (best < 0 || ids[j] < ids[best])) best = j;
  }
  return best;
}

}  // namespace

void CpuBackend::route_top_k(TensorView logits, TensorView ids, TensorView weights, Stream&) {
  const int64_t num_experts = logits.row_elements();
  const int64_t top_k = ids.row_elements();
  const float* in = logits.as<float>();
  int32_t* all_ids = ids.as<int32_t>();
  float* all_weights = weights.as<float>();
  for_each_row(logits.rows(), num_experts * top_k, [&](int64_t r) {
    const float* row = in + r * num_experts;
    int32_t* chosen = all_ids + r * top_k;
    float* weight = all_weights + r * top_k;
    for (int64_t j = 0; j < top_k; ++j) {
      chosen[j] = next_expert(row, num_experts, {chosen, static_cast<size_t>(j)});
      weight[j] = row[chosen[j]] - row[chosen[0]];
    }
    kernels_.exponential(weight, top_k);
    float total = 0;
    for (int64_t j = 0; j < top_k; ++j) total += weight[j];
    for (int64_t j = 0; j < top_k; ++j) weight[j] /= total;
  });
}

void CpuBackend::group_by_expert(TensorView ids, TensorView local_expert, const ExpertGroups& groups, Stream&) {
  const int64_t num_choices = ids.num_elements();
  const int64_t top_k = ids.row_elements();
  const int64_t num_local = groups.offsets.num_elements() - 1;
  const int32_t* expert_ids = ids.as<int32_t>();
  const int32_t* local_ids = local_expert.as<int32_t>();
  int32_t* offsets = groups.offsets.as<int32_t>();
  int32_t* slots = groups.slots.as<int32_t>();
  int32_t* rows = groups.assignment_row.as<int32_t>();
  const auto local = [&](int64_t choice) { return expert_ids[choice] < 0 ? -1 : local_ids[expert_ids[choice]]; };
  std::fill_n(offsets, num_local + 1, 0);
  for (int64_t choice = 0; choice < num_choices; ++choice) {
    if (local(choice) >= 0) ++offsets[local(choice) + 1];
  }
  for (int64_t e = 0; e < num_local; ++e) offsets[e + 1] += offsets[e];
  next_slot_.assign(offsets, offsets + num_local);
  for (int64_t choice = 0; choice < num_choices; ++choice) {
    const int32_t e = local(choice);
    slots[choice] = e < 0 ? -1 : next_slot_[static_cast<size_t>(e)]++;
    if (e >= 0) rows[slots[choice]] = static_cast<int32_t>(choice / top_k);
  }
}

void CpuBackend::weighted_sum(TensorView y, const WeightedChoices& choices, TensorView out, Stream&) {
  const int64_t width = out.row_elements();
  const int64_t top_k = choices.ids.row_elements();
  const float* values = y.as<float>();
  const int32_t* all_slots = choices.slots.as<int32_t>();
  const int32_t* all_ids = choices.ids.as<int32_t>();
  const float* all_weights = choices.weights.as<float>();
  float* sums = out.as<float>();
  const auto accumulate =
      choices.product_dtype == DType::kBF16 ? kernels_.accumulate_scaled_bf16 : kernels_.accumulate_scaled;
  for_each_row(out.rows(), width * top_k, [&](int64_t r) {
    const int32_t* row_ids = all_ids + r * top_k;
    float* sum = sums + r * width;
    std::fill_n(sum, width, 0.0F);
    for (int64_t j = next_choice(row_ids, top_k, -1); j >= 0; j = next_choice(row_ids, top_k, row_ids[j])) {
      const int32_t slot = all_slots[r * top_k + j];
      if (slot < 0) continue;
      accumulate(values + slot * width, all_weights[r * top_k + j], width, sum);
    }
  });
}

}  // namespace octet
