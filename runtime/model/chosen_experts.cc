#include "runtime/model/chosen_experts.h"

namespace octet {

ChosenExperts::ChosenExperts(Backend& backend, int64_t num_layers, int64_t max_rows, int64_t top_k)
    : backend_(backend),
      num_layers_(num_layers),
      top_k_(top_k),
      ids_(backend.allocate_tensor(DType::kI32, {num_layers * max_rows, top_k})),
      host_ids_(backend.allocate_host_tensor(DType::kI32, {num_layers * max_rows, top_k})) {}

void ChosenExperts::download(const PlanRows& ran, Stream& stream) const {
  if (ran.is_copy) return;
  const int64_t num_rows = (num_layers_ - 1) * ran.all.mine.size() + ran.wanted.mine.size();
  backend_.download(ids_.view.slice_rows(0, num_rows), host_ids_.view.data, stream);
}

void ChosenExperts::count(const PlanRows& ran, const PlanRows& rows, ExpertLoad& load) const {
  for (int64_t l = 0; l < num_layers_; ++l) {
    const TensorView ids = layer_of(host_ids_.view, l, ran).slice_rows(0, rows_of_layer(l, rows));
    load.add(l, std::span(ids.as<int32_t>(), static_cast<size_t>(ids.num_elements())));
  }
}

void ChosenExperts::append(const PlanRows& ran, const PlanRows& rows, std::vector<int32_t>& choices) const {
  for (size_t i = 0; i < rows.kept_wanted.size(); ++i) {
    for (int64_t l = 0; l < num_layers_; ++l) {
      const int64_t row = l + 1 < num_layers_ ? rows.kept_wanted[i] : static_cast<int64_t>(i);
      const int32_t* ids = layer_of(host_ids_.view, l, ran).slice_rows(row, 1).as<int32_t>();
      choices.insert(choices.end(), ids, ids + top_k_);
    }
  }
}

}  // namespace octet
