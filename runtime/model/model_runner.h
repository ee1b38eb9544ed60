// ModelRunner: one rank's model. Runs step plans; knows nothing of requests, sampling or text.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "runtime/base/status.h"
#include "runtime/base/tensor.h"
#include "runtime/model/expert_load.h"
#include "runtime/model/step_plan.h"

namespace octet {

// Logits of the rows that a plan asked for, in the order of the plan's groups and their logit_rows.
// F32 [num_logit_rows, vocab] in host memory. On ranks other than 0: no rows. What else the plan asked for is on rank
// 0, too. All is valid until the next run.
struct StepResult {
  TensorView logits;
  const ModelTotals* totals = nullptr;
  std::span<const int32_t> experts = {};  // [num_logit_rows, num_layers, top_k]: the choices of the same rows
};

class ModelRunner {
 public:
  virtual ~ModelRunner() = default;
  // Rows of one step that the runner has room for, in every group, and rows of logits among them.
  virtual int64_t max_rows() const = 0;
  virtual int64_t max_logit_rows() const = 0;
  virtual int64_t num_pages() const = 0;   // KV pages of one dp group
  virtual int64_t num_groups() const = 0;  // dp
  virtual int64_t vocab_size() const = 0;
  // Longest sequence in tokens.
  virtual int64_t max_context() const = 0;
  virtual Result<StepResult> run(const StepPlan& plan) = 0;
};

}  // namespace octet
