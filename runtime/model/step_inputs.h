// StepInputs: what the layers read of a plan, in device memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "runtime/checkpoint/model_config.h"
#include "runtime/model/plan_rows.h"

namespace octet {

struct StepInputLimits {
  int64_t rows = 0;         // of one dp group
  int64_t wanted_rows = 0;  // among them
  int64_t pages = 0;        // of one sequence
};

// A step's part of it; valid until the next upload.
struct UploadedStep {
  TensorView token_ids;     // I32 [rows of the tp group]
  PagedBatch batch;         // of the same rows
  TensorView frequencies;   // RopeFrequencies: [width] of all rows, or [at least the rows, width]
  TensorView wanted_index;  // I32 [wanted rows of this rank]: among the rows that it keeps
};

class StepInputs {
 public:
  StepInputs(Backend& backend, const ModelConfig& config, const StepInputLimits& limits);

  // Enqueues the way of this rank's group of a plan to the device. Page tables get at least so many columns.
  UploadedStep upload(const GroupPlan& group, const PlanRows& rows, int64_t least_pages, Stream& stream);

 private:
  TensorView upload_positions(const GroupPlan& group, Stream& stream);
  TensorView upload_page_tables(const GroupPlan& group, int64_t least_pages, Stream& stream);
  // Of RoPE whose frequencies follow the position.
  void upload_frequencies(std::span<const int32_t> positions, Stream& stream);

  Backend& backend_;
  RopeScaling rope_scaling_;
  double rope_theta_;
  Tensor inverse_frequency_;         // RopeFrequencies: [width], or of a step's rows [max_rows, width]
  Tensor token_ids_;                 // I32 [max_rows]
  Tensor positions_;                 // I32 [max_rows]
  Tensor page_tables_;               // I32 [max_rows · most pages of a sequence]
  Tensor wanted_index_;              // I32 [max wanted rows]
  std::vector<int32_t> host_index_;  // staging of uploads
  std::vector<float> host_frequencies_;
};

}  // namespace octet
