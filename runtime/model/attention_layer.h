// The attention block: x += Wo · attention(rope(Wqkv · rms_norm(x))), tensor parallel over KV heads.
#pragma once

#include "runtime/model/step_context.h"

namespace octet {

// x F32 [rows.mine, hidden], updated in place. Writes the rows' keys and values into `cache`.
void attention_layer(const StepContext& step, const StepRows& rows, const AttentionWeights& weights,
                     const KvCacheView& cache, TensorView x);

}  // namespace octet
