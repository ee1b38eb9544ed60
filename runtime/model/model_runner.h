// ModelRunner: one rank's model. Runs step plans; knows nothing of requests or text.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "runtime/base/status.h"
#include "runtime/base/tensor.h"
#include "runtime/model/expert_load.h"
#include "runtime/model/step_plan.h"

namespace octet {

// What a plan asked for, on rank 0; valid until the next run. Logits are of the rows that the plan names, in the order
// of the plan's groups and their logit_rows, which SampleSpec::row refers to, too.
struct StepResult {
  TensorView logits;          // F32 [num_logit_rows, vocab] in host memory, where the plan wants them; else no rows
  SampledRows samples = {};   // the answers to the plan's SamplingBatch
  double sample_seconds = 0;  // time of choosing, where the device does it while the host waits
  const ModelTotals* totals = nullptr;    // where the plan asked for them
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
