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

// What a plan asked for, on rank 0; valid until the next step begins. Logits are of the rows that the plan names, in
// the order of the plan's groups and their logit_rows, which SampleSpec::row refers to, too.
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

  // Starts a step. A device goes on with it while its host does other things; without one most of the work is done
  // here. The plan stays where it is until wait() returns, and so does what is in it, but for what becomes of the
  // logits (StepPlan::wants_logits, sampling), which only wait() reads: a host may prepare it meanwhile. A step that
  // has begun is waited for, even if nobody wants its result any more: other ranks are in it, too.
  virtual Status begin(const StepPlan& plan) = 0;
  // Until the step that has begun is done. REQUIRES: begin() was ok.
  virtual Result<StepResult> wait() = 0;
  // Both at once.
  Result<StepResult> run(const StepPlan& plan) {
    OCTET_RETURN_IF_ERROR(begin(plan));
    return wait();
  }
};

}  // namespace octet
