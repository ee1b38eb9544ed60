// The mixture-of-experts block: x += Σ weight_e · w2_e(silu(w1_e · h) ⊙ w3_e · h), h = rms_norm(x), over the experts
// that the router picks for each row; expert parallel.
#pragma once

#include "runtime/model/step_context.h"

namespace octet {

// x F32 [rows.mine, hidden], updated in place. ids I32 [the same rows, top_k] receives the experts that are
// picked.
void moe_layer(const StepContext& step, const StepRows& rows, const MoeWeights& weights, TensorView ids, TensorView x);

}  // namespace octet
