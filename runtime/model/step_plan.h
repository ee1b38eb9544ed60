// StepPlan: what one forward step computes, as flat data. Rank 0 decides it, every rank obeys it.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "runtime/base/tensor.h"

namespace octet {

// The rows of one attention replica (dp group): it holds these sequences' KV pages.
struct GroupPlan {
  std::vector<TokenId> token_ids;                 // [rows]
  std::vector<SequenceRows> sequences;            // rows ascending, without gaps; together they are all rows
  std::vector<std::vector<int32_t>> page_tables;  // of each sequence: its pages in order, enough for its last row
  std::vector<int32_t> logit_rows;                // rows whose logits are wanted, ascending

  int64_t num_rows() const { return static_cast<int64_t>(token_ids.size()); }
};

struct StepPlan {
  uint64_t step = 0;
  std::vector<GroupPlan> groups;  // one for each dp index; possibly without rows
  bool wants_totals = false;      // whether rank 0 asks all ranks for their ModelTotals behind the step
  bool wants_experts = false;     // whether it asks for the experts that the rows of the logits chose

  // What becomes of the logits on rank 0; the other ranks are not told.
  bool wants_logits = true;     // they come to host memory
  SamplingBatch sampling = {};  // tokens to choose from them
};

}  // namespace octet
