#include "runtime/model/chosen_experts.h"

namespace octet {

ChosenExperts::ChosenExperts(Backend& backend, int64_t num_layers, int64_t max_rows, int64_t top_k)
    : backend_(backend),
      num_layers_(num_layers),
      max_rows_(max_rows),
      top_k_(top_k),
      ids_(backend.allocate_tensor(DType::kI32, {num_layers * max_rows, top_k})),
      host_ids_(backend.allocate_host_tensor(DType::kI32, {num_layers * max_rows, top_k})) {}

TensorView ChosenExperts::layer(int64_t layer, int64_t num_rows) const {
  return ids_.view.slice_rows(layer * max_rows_, num_rows);
}

void ChosenExperts::download(Stream& stream) { backend_.download(ids_.view, host_ids_.view.data, stream); }

void ChosenExperts::count(int64_t num_rows, int64_t num_last_rows, ExpertLoad& load) const {
  for (int64_t l = 0; l < num_layers_; ++l) {
    const int64_t rows = l + 1 < num_layers_ ? num_rows : num_last_rows;
    const TensorView ids = host_ids_.view.slice_rows(l * max_rows_, rows);
    load.add(l, std::span(ids.as<int32_t>(), static_cast<size_t>(rows * top_k_)));
  }
}

void ChosenExperts::append(std::span<const int32_t> rows, std::vector<int32_t>& choices) const {
  for (size_t i = 0; i < rows.size(); ++i) {
    for (int64_t l = 0; l < num_layers_; ++l) {
      const int64_t row = l + 1 < num_layers_ ? rows[i] : static_cast<int64_t>(i);
      const int32_t* ids = host_ids_.view.slice_rows(l * max_rows_ + row, 1).as<int32_t>();
      choices.insert(choices.end(), ids, ids + top_k_);
    }
  }
}

}  // namespace octet
