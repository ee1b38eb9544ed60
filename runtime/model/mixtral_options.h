// What a model is built with.
#pragma once

#include <cstdint>
#include <vector>

#include "parallel/expert_exchange_all_to_all.h"
#include "parallel/row_layout_choice.h"
#include "runtime/base/tensor.h"
#include "runtime/model/shard_weights.h"

namespace octet {

struct MixtralOptions {
  int64_t max_rows = 512;        // rows of one step in one dp group
  int64_t max_logit_rows = 512;  // rows among them whose logits are wanted
  int64_t num_pages = 0;         // KV pages of one dp group
  int64_t max_context = 0;       // longest sequence in tokens; 0: the checkpoint's
  DType kv_dtype = DType::kF32;
  ExchangePolicy exchange = ExchangePolicy::kAuto;
  DType exchange_dtype = DType::kF32;  // of what experts take and give: kF32, or kBF16 for half the bytes
  std::vector<std::vector<int32_t>> experts_of_place;  // [ep]; empty: linear placement
  // Where the device works while rows travel: ExchangeShape::least_kept_rows.
  int64_t least_kept_rows = kLeastKeptRows;
  bool graphs = true;  // where the device captures steps: replay decode steps of the replicated layout
  LoadOptions load;
};

}  // namespace octet
