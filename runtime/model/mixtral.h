// Mixtral: one rank's model, a ModelRunner: a plan's tokens go through the decoder, its logits come together on rank 0,
// where tokens are chosen from them. Its code is the same for any number of ranks.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "kernels/planned_device.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/model/decoder.h"
#include "runtime/model/logits_collector.h"
#include "runtime/model/mixtral_options.h"
#include "runtime/model/model_rank.h"
#include "runtime/model/model_runner.h"
#include "runtime/model/token_chooser.h"
#include "runtime/model/totals_collector.h"

namespace octet {

class Mixtral final : public ModelRunner {
 public:
  // Loads this rank's shard; collective over the ranks of `comms`. kInvalidInput where the options do not fit the model
  // or the layout. The checkpoint is not needed afterwards; backend and communicators must outlive the model.
  static Result<std::unique_ptr<Mixtral>> create(const Checkpoint& checkpoint, const Topology& topology,
                                                 Backend& backend, ModelComms& comms, MixtralOptions options);
  // Bytes of such a device's memory that create() takes on `rank` beside weights and the pages that options.num_pages
  // asks for; on a GPU what products of the experts keep, too. Touches no memory. Errors as create().
  static Result<int64_t> working_memory(const ModelConfig& config, const Topology& topology, int rank,
                                        const PlannedDevice& device, MixtralOptions options);

  int64_t max_rows() const override { return options_.max_rows; }
  int64_t max_logit_rows() const override { return options_.max_logit_rows; }
  int64_t num_pages() const override { return options_.num_pages; }
  int64_t num_groups() const override { return rank_.topology.dp; }
  int64_t vocab_size() const override { return vocab_size_; }
  int64_t max_context() const override { return options_.max_context; }
  // Collective: every rank runs the same plan. Logits come to rank 0.
  Status begin(const StepPlan& plan) override;
  Result<StepResult> wait() override;

  int64_t weight_bytes_read() const { return decoder_.weight_bytes_read(); }
  const RowLayoutChooser& row_layouts() const { return decoder_.row_layouts(); }
  const StepTimer& timer() const { return timer_; }

 private:
  struct Begun {
    const StepPlan& plan;
    DecodedStep decoded;
    TensorView logits;  // of all groups' rows, on rank 0
  };

  // All but the weights.
  static Result<std::unique_ptr<Mixtral>> make_unloaded(const ModelConfig& config, const ModelRank& rank,
                                                        MixtralOptions options);
  Mixtral(const ModelConfig& config, const ModelRank& rank, MixtralOptions options, RowLayoutChooser chooser);

  // Brings what the plan wants of the logits to rank 0's host memory, where it is after the next wait.
  StepResult answer(const StepPlan& plan, TensorView logits);

  ModelRank rank_;
  MixtralOptions options_;
  int64_t vocab_size_;
  std::unique_ptr<Stream> stream_;
  StepTimer timer_;
  Decoder decoder_;
  LogitsCollector logits_;
  TokenChooser chooser_;
  TotalsCollector totals_;
  std::optional<Begun> begun_;  // the last step
};

}  // namespace octet
