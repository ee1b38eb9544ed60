#include "runtime/model/step_inputs.h"

#include <algorithm>

namespace octet {
namespace {

// One row for all positions; where they differ, room for those of a step.
Tensor rope_tensor(const ModelConfig& config, Backend& backend, int64_t max_rows) {
  const int64_t width = config.head_dim / 2 + 1;
  if (config.rope_scaling.kind == RopeKind::kDynamic) return backend.allocate_tensor(DType::kF32, {max_rows, width});
  std::vector<float> values(static_cast<size_t>(width));
  rope_frequencies(config.rope_scaling, config.rope_theta, 0, values);
  Tensor tensor = backend.allocate_tensor(DType::kF32, {width});
  backend.upload_and_wait(values.data(), tensor.view);
  return tensor;
}

}  // namespace

StepInputs::StepInputs(Backend& backend, const ModelConfig& config, const StepInputLimits& limits)
    : backend_(backend),
      rope_scaling_(config.rope_scaling),
      rope_theta_(config.rope_theta),
      inverse_frequency_(rope_tensor(config, backend, limits.rows)),
      token_ids_(backend.allocate_tensor(DType::kI32, {limits.rows})),
      positions_(backend.allocate_tensor(DType::kI32, {limits.rows})),
      page_tables_(backend.allocate_tensor(DType::kI32, {limits.rows * limits.pages})),
      wanted_index_(backend.allocate_tensor(DType::kI32, {limits.wanted_rows})) {}

UploadedStep StepInputs::upload(const GroupPlan& group, const PlanRows& rows, int64_t least_pages, Stream& stream) {
  const TensorView token_ids = token_ids_.view.slice_rows(0, group.num_rows());
  backend_.upload(group.token_ids.data(), token_ids, stream);
  const TensorView positions = upload_positions(group, stream);
  const TensorView page_tables = upload_page_tables(group, least_pages, stream);
  const TensorView wanted_index = wanted_index_.view.slice_rows(0, std::ssize(rows.kept_wanted));
  backend_.upload(rows.kept_wanted.data(), wanted_index, stream);
  return {token_ids, {group.sequences, positions, page_tables}, inverse_frequency_.view, wanted_index};
}

TensorView StepInputs::upload_positions(const GroupPlan& group, Stream& stream) {
  host_index_.clear();
  for (const SequenceRows& s : group.sequences) {
    for (int32_t i = 0; i < s.num_rows; ++i) host_index_.push_back(s.first_position + i);
  }
  OCTET_CHECK(std::ssize(host_index_) == group.num_rows(), "{} positions for {} rows", host_index_.size(),
              group.num_rows());
  const TensorView positions = positions_.view.slice_rows(0, group.num_rows());
  backend_.upload(host_index_.data(), positions, stream);
  if (rope_scaling_.kind == RopeKind::kDynamic) upload_frequencies(host_index_, stream);
  return positions;
}

TensorView StepInputs::upload_page_tables(const GroupPlan& group, int64_t least_pages, Stream& stream) {
  auto width = static_cast<size_t>(least_pages);
  for (const auto& pages : group.page_tables) width = std::max(width, pages.size());
  host_index_.assign(width * group.page_tables.size(), 0);
  for (size_t s = 0; s < group.page_tables.size(); ++s) {
    std::copy(group.page_tables[s].begin(), group.page_tables[s].end(),
              host_index_.begin() + static_cast<long>(s * width));
  }
  const TensorView page_tables{
      page_tables_.view.data, DType::kI32, {std::ssize(group.page_tables), static_cast<int64_t>(width)}};
  backend_.upload(host_index_.data(), page_tables, stream);
  return page_tables;
}

void StepInputs::upload_frequencies(std::span<const int32_t> positions, Stream& stream) {
  const auto width = static_cast<size_t>(inverse_frequency_.view.row_elements());
  host_frequencies_.resize(positions.size() * width);
  for (size_t r = 0; r < positions.size(); ++r) {
    rope_frequencies(rope_scaling_, rope_theta_, positions[r], std::span(host_frequencies_).subspan(r * width, width));
  }
  backend_.upload(host_frequencies_.data(), inverse_frequency_.view.slice_rows(0, std::ssize(positions)), stream);
}

}  // namespace octet
