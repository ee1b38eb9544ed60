// Mixtral: one rank's model, a ModelRunner. Its code is the same for any number of ranks.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "kernels/backend.h"
#include "parallel/expert_exchange_all_to_all.h"
#include "parallel/expert_exchange_replicated.h"
#include "parallel/rank_groups.h"
#include "parallel/row_layout.h"
#include "parallel/row_layout_choice.h"
#include "parallel/topology.h"
#include "parallel/tree_reduce.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/model/decode_shape.h"
#include "runtime/model/expert_load.h"
#include "runtime/model/kv_store.h"
#include "runtime/model/model_runner.h"
#include "runtime/model/shard_weights.h"
#include "runtime/model/step_context.h"
#include "runtime/model/step_graphs.h"

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

class Mixtral final : public ModelRunner {
 public:
  // Loads this rank's shard; collective over the ranks of `comms`. kInvalidInput where the options do not fit the model
  // or the layout. The checkpoint is not needed afterwards; backend and communicators must outlive the model.
  static Result<std::unique_ptr<Mixtral>> create(const Checkpoint& checkpoint, const Topology& topology,
                                                 Backend& backend, ModelComms& comms, MixtralOptions options);

  int64_t max_rows() const override { return options_.max_rows; }
  int64_t max_logit_rows() const override { return options_.max_logit_rows; }
  int64_t num_pages() const override { return options_.num_pages; }
  int64_t num_groups() const override { return topology_.dp; }
  int64_t vocab_size() const override { return config_.vocab_size; }
  int64_t max_context() const override { return options_.max_context; }
  // Collective: every rank runs the same plan. Logits come to rank 0.
  Status begin(const StepPlan& plan) override;
  Result<StepResult> wait() override;

  int64_t weight_bytes_read() const { return weights_.bytes_read; }
  const RowLayoutChooser& row_layouts() const { return chooser_; }
  const StepTimer& timer() const { return timer_; }

 private:
  // The two ways in which rows can be held and travel.
  struct Strategy {
    RowLayout* rows;
    ExpertExchange* experts;
  };
  // A step that has begun.
  struct Begun {
    const StepPlan* plan = nullptr;
    Strategy strategy = {};
    TensorView logits = {};  // of all ranks, on rank 0
  };

  Mixtral(const Checkpoint& checkpoint, const Topology& topology, Backend& backend, ModelComms& comms,
          MixtralOptions options, const ExchangeShape& exchange, RowLayoutChooser chooser);

  Strategy choose_strategy(const StepPlan& plan);
  // How many rows each rank keeps: of the step, or of those whose logits are wanted.
  void count_rows(const StepPlan& plan, const Strategy& strategy, bool selected);
  // Uploads the rows' ids, positions and page tables of at least so many pages.
  PagedBatch upload_batch(const GroupPlan& group, int64_t least_pages);
  // Of RoPE whose frequencies follow the position.
  void upload_frequencies(std::span<const int32_t> positions);
  // Which of the rows that this rank keeps are wanted; valid until the next call.
  std::span<const int32_t> kept_logit_rows(const GroupPlan& group, const Strategy& strategy);
  // Keeps only the rows whose logits are wanted.
  TensorView select_logit_rows(const StepPlan& plan, const Strategy& strategy, TensorView x);
  void enqueue_layers(const StepPlan& plan, const Strategy& strategy, const PagedBatch& batch);
  // The shape that the step is padded to, if it is one that this device replays.
  std::optional<DecodeShape> padded_shape(const StepPlan& plan, const Strategy& strategy) const;
  // The rows of this rank's dp group.
  const GroupPlan& my_group(const StepPlan& plan) const {
    return plan.groups[static_cast<size_t>(topology_.dp_index(comms_.world.rank()))];
  }
  // The page behind all others, where padded rows write.
  int32_t scratch_page() const { return static_cast<int32_t>(options_.num_pages); }
  // Whether several ranks hold this rank's rows and another one speaks for them.
  bool is_copy(const Strategy& strategy) const {
    return strategy.rows == &replicated_rows_ && topology_.tp_index(comms_.world.rank()) != 0;
  }
  // Adds the step's choices, which are in host memory by now, to this rank's load.
  void count_experts(const GroupPlan& group, const Strategy& strategy);
  // The choices of the rows of the logits on rank 0, from all ranks. Collective.
  void collect_experts(const GroupPlan& group, const Strategy& strategy);
  // Sums the ranks' totals on rank 0. Collective.
  void collect_totals();
  // The logits of all groups' rows on rank 0, on its device; no rows on the others.
  TensorView collect_logits(const StepPlan& plan, TensorView shard);
  // From [rank][row][column of its vocabulary] to [row][column].
  void place_columns(const StepPlan& plan, float* gathered, TensorView out);
  // Brings what the plan wants of the logits to rank 0's host memory, where it is after the next wait.
  StepResult answer(const StepPlan& plan, TensorView logits);
  // Chooses tokens; their answers come to host memory.
  SampledRows sample(const SamplingBatch& batch, TensorView logits);

  ModelConfig config_;
  Topology topology_;
  Backend& backend_;
  ModelComms& comms_;
  std::unique_ptr<Stream> stream_;
  MixtralOptions options_;
  RowLayoutChooser chooser_;
  StepTimer timer_;
  StepGraphs graphs_;
  StepPlan padded_plan_;
  ShardPlan shard_;
  ShardWeights weights_;
  KvStore kv_;
  std::unique_ptr<Reducer> tp_reducer_;
  ReplicatedRows replicated_rows_;
  SlicedRows sliced_rows_;
  ReplicatedExpertExchange replicated_exchange_;
  AllToAllExpertExchange all_to_all_exchange_;
  Workspace workspace_;
  ChosenExperts chosen_;
  ExpertLoad expert_load_;  // of the rows that this rank counts
  ModelTotals totals_;      // of all ranks when they were last asked; rank 0
  std::vector<int64_t> totals_message_;
  std::vector<int32_t> logit_experts_;  // as StepResult::experts; on other ranks than 0, of this rank's rows
  AttentionShape attention_;
  Begun begun_;

  Tensor inverse_frequency_;         // RopeFrequencies: [width], or of a step's rows [max_rows, width]
  Tensor token_ids_;                 // I32 [max_rows]
  Tensor positions_;                 // I32 [max_rows]
  Tensor page_tables_;               // I32 [max_rows · most pages of a sequence]
  Tensor row_index_;                 // I32 [max_logit_rows]
  Tensor residual_;                  // [max_rows, hidden]
  Tensor selected_;                  // [max_logit_rows, hidden]
  Tensor logits_;                    // [max_logit_rows, vocabulary of this rank]
  Tensor gathered_logits_;           // flat, every rank's logits in rank order; rank 0 of several only
  Tensor all_logits_;                // [dp · max_logit_rows, vocab]; rank 0 of several only
  Tensor host_logits_;               // the logits of all rows, if the device has memory of its own; rank 0 only
  Tensor samples_;                   // I8, the answers of as many SampleSpecs as there have been; rank 0 only
  Tensor host_samples_;              // the same in host memory
  std::vector<int32_t> host_index_;  // staging of uploads
  std::vector<float> host_frequencies_;
  std::vector<int64_t> rows_of_rank_;                  // that each rank keeps of the step, [world]
  std::vector<int64_t> send_counts_, receive_counts_;  // [world]
};

}  // namespace octet
