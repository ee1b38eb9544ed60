// LogitsCollector: brings the ranks' columns of the logits together on rank 0.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "runtime/model/model_rank.h"
#include "runtime/model/step_plan.h"

namespace octet {

class LogitsCollector {
 public:
  // max_rows: of the logits of one dp group.
  LogitsCollector(const ModelRank& rank, int64_t vocab_size, int64_t max_rows);

  // shard F32 [logit rows of this rank's dp group, vocabulary of this rank]. The logits of all groups' rows, in the
  // groups' order, on rank 0's device: F32 [logit rows, vocab], valid until the next call or as long as `shard`,
  // whichever is shorter; no rows on the others. Collective.
  TensorView collect(const StepPlan& plan, TensorView shard, Stream& stream);
  // Enqueues the way of collected logits to rank 0's host memory, if they are not there already.
  TensorView to_host(TensorView logits, Stream& stream);

 private:
  void count_shards(const StepPlan& plan, int64_t my_elements);
  // From [rank][row][column of its vocabulary] to [row][column].
  void place_columns(const StepPlan& plan, float* gathered, TensorView out, Stream& stream);

  ModelRank rank_;
  int64_t vocab_size_;
  Tensor gathered_;                                    // flat, every rank's in rank order; rank 0 of several only
  Tensor all_;                                         // [dp · max_rows, vocab]; rank 0 of several only
  Tensor host_;                                        // the same, if the device has memory of its own; rank 0 only
  std::vector<int64_t> send_counts_, receive_counts_;  // [world]
};

}  // namespace octet
