// Decoder: one rank's layers, from a plan's tokens to this rank's columns of the logits. Owns weights, KV cache and all
// that layers work on. Its code is the same for any number of ranks.
#pragma once

#include <cstdint>
#include <optional>

#include "parallel/row_layout_choice.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/model/chosen_experts.h"
#include "runtime/model/decode_shape.h"
#include "runtime/model/expert_store.h"
#include "runtime/model/kv_store.h"
#include "runtime/model/mixtral_options.h"
#include "runtime/model/model_rank.h"
#include "runtime/model/plan_rows.h"
#include "runtime/model/row_strategies.h"
#include "runtime/model/shard_weights.h"
#include "runtime/model/step_context.h"
#include "runtime/model/step_graphs.h"
#include "runtime/model/step_inputs.h"

namespace octet {

// What a step of the decoder leaves behind; valid until the next one.
struct DecodedStep {
  TensorView logits;             // F32 [wanted rows of the dp group, vocabulary of this rank]
  const PlanRows& rows;          // the plan's
  const PlanRows& ran;           // the same, or padded to a shape
  const ChosenExperts& choices;  // of the rows that ran
};

class Decoder {
 public:
  // All but the weights. The options' experts_of_place and max_context are set. Collective.
  Decoder(const ModelConfig& config, const ModelRank& rank, const MixtralOptions& options, RowLayoutChooser chooser,
          StepTimer& timer);
  // Reads this rank's shard. Once, before the first step; the checkpoint is not needed afterwards.
  void load(const Checkpoint& checkpoint);

  // Enqueues the step. Collective: every rank runs the same plan.
  DecodedStep run(const StepPlan& plan, Stream& stream);

  // Of the checkpoint's files.
  int64_t weight_bytes_read() const { return weights_.bytes_read; }
  const RowLayoutChooser& row_layouts() const { return chooser_; }
  const ShardPlan& shard() const { return shard_; }
  // Most assignments that a step can bring to this rank.
  int64_t max_assignments() const { return strategies_.max_assignments(); }

 private:
  RowLayoutKind choose_layout(const StepPlan& plan) const;
  // The shape that a step is padded to, if it is one that this device replays.
  std::optional<DecodeShape> padded_shape(const StepPlan& plan, RowLayoutKind layout) const;
  const GroupPlan& my_group(const StepPlan& plan) const { return plan.groups[static_cast<size_t>(rank_.dp_index())]; }
  // The page behind all others, where padded rows write.
  int32_t scratch_page() const { return static_cast<int32_t>(options_.num_pages); }
  void enqueue(const PlanRows& rows, const UploadedStep& inputs, Stream& stream);
  // Of x, whose rows this rank keeps, the wanted.
  TensorView select(const UploadedStep& inputs, TensorView x, Stream& stream);

  ModelRank rank_;
  ModelConfig config_;
  MixtralOptions options_;
  RowLayoutChooser chooser_;
  StepTimer& timer_;
  StepGraphs graphs_;
  ShardPlan shard_;
  ShardWeights weights_;  // but the experts
  ExpertStore experts_;
  KvStore kv_;
  RowStrategies strategies_;
  Workspace workspace_;
  ChosenExperts chosen_;
  AttentionShape attention_;
  StepInputs inputs_;
  Tensor residual_;  // [max_rows, hidden]
  Tensor selected_;  // [max_logit_rows, hidden]
  Tensor logits_;    // [max_logit_rows, vocabulary of this rank]

  RowPlanner row_planner_;
  PlanRows rows_;         // of the plan
  StepPlan padded_plan_;  // the same padded to a shape
  PlanRows padded_rows_;
};

}  // namespace octet
