#include "runtime/model/moe_layer.h"

namespace octet {
namespace {

// y = the local experts' answers to a route, one an assignment.
void compute_experts(const StepContext& step, int64_t layer, const Route& route, TensorView y) {
  step.timer.enter(StepPhase::kExperts);
  const ExpertWeights& experts = step.experts.acquire(layer, route.groups, step.stream);
  const TensorView activated = step.workspace.activated.view.slice_rows(0, y.rows());
  step.backend.grouped_gemm(route.rows, route.groups, experts.gate_up, activated, step.stream);
  step.backend.grouped_gemm(activated, route.groups.in_order(), experts.down, y, step.stream);
}

}  // namespace

void moe_layer(const StepContext& step, const StepRows& rows, int64_t layer, const MoeWeights& weights, TensorView ids,
               TensorView x) {
  Backend& backend = step.backend;
  Stream& stream = step.stream;
  Workspace& scratch = step.workspace;

  step.timer.enter(StepPhase::kRouter);
  const TensorView h = scratch.normed.view.slice_rows(0, x.rows());
  backend.rms_norm(x, weights.norm.view, step.config.rms_norm_eps, h, stream);
  step.timer.enter(StepPhase::kDispatch);
  step.exchange.announce(rows, h, stream);
  step.timer.enter(StepPhase::kRouter);
  const TensorView logits = scratch.router_logits.view.slice_rows(0, x.rows());
  const TensorView expert_weights = scratch.expert_weights.view.slice_rows(0, x.rows());
  backend.gemm(h, weights.router, logits, stream);
  backend.route_top_k(logits, ids, expert_weights, stream);
  const RoutedRows mine{h, ids, expert_weights};

  step.timer.enter(StepPhase::kDispatch);
  const TensorView y = scratch.expert_out.view;
  int64_t num_kept = 0;  // assignments
  if (const auto kept = step.exchange.keep(rows, mine, stream)) {
    num_kept = kept->groups.assignment_row.num_elements();
    compute_experts(step, layer, *kept, y.slice_rows(0, num_kept));
    step.timer.enter(StepPhase::kDispatch);
  }
  const Route route = step.exchange.dispatch(rows, mine, stream);
  const int64_t num_dispatched = route.groups.assignment_row.num_elements();
  compute_experts(step, layer, route, y.slice_rows(num_kept, num_dispatched));

  step.timer.enter(StepPhase::kCombine);
  const TensorView delta = scratch.delta.view.slice_rows(0, x.rows());
  step.exchange.combine(rows, route, y.slice_rows(0, num_kept + num_dispatched), delta, stream);
  backend.add(x, delta, stream);
}

}  // namespace octet
