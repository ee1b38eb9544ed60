#include "runtime/model/moe_layer.h"

namespace octet {

void moe_layer(const StepContext& step, const MoeWeights& weights, TensorView ids, TensorView x) {
  Backend& backend = step.backend;
  Stream& stream = step.stream;
  Workspace& scratch = step.workspace;

  step.timer.enter(StepPhase::kRouter);
  const TensorView h = scratch.normed.view.slice_rows(0, x.rows());
  backend.rms_norm(x, weights.norm.view, step.config.rms_norm_eps, h, stream);
  step.timer.enter(StepPhase::kDispatch);
  step.experts.announce(h, stream);
  step.timer.enter(StepPhase::kRouter);
  const TensorView logits = scratch.router_logits.view.slice_rows(0, x.rows());
  const TensorView expert_weights = scratch.expert_weights.view.slice_rows(0, x.rows());
  backend.gemm(h, weights.router, logits, stream);
  backend.route_top_k(logits, ids, expert_weights, stream);

  step.timer.enter(StepPhase::kDispatch);
  const Route route = step.experts.dispatch(h, ids, expert_weights, stream);
  step.timer.enter(StepPhase::kExperts);
  const int64_t num_assignments = route.groups.assignment_row.num_elements();
  const TensorView activated = scratch.activated.view.slice_rows(0, num_assignments);
  const TensorView y = scratch.expert_out.view.slice_rows(0, num_assignments);
  backend.grouped_gemm(route.rows, route.groups, weights.gate_up, activated, stream);
  backend.grouped_gemm(activated, route.groups.in_order(), weights.down, y, stream);

  step.timer.enter(StepPhase::kCombine);
  const TensorView delta = scratch.delta.view.slice_rows(0, x.rows());
  step.experts.combine(route, y, delta, stream);
  backend.add(x, delta, stream);
}

}  // namespace octet
