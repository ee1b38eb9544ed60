#include "runtime/model/decoder.h"

#include <algorithm>
#include <utility>

#include "runtime/model/attention_layer.h"
#include "runtime/model/moe_layer.h"

namespace octet {
namespace {

ExchangeShape exchange_shape(const ModelConfig& config, const MixtralOptions& options, const ModelRank& rank) {
  return {config.num_experts,
          config.experts_per_token,
          config.hidden_size,
          options.max_rows,
          options.experts_of_place,
          options.exchange_dtype,
          rank.has_own_memory() ? options.least_kept_rows : 0};
}

}  // namespace

Decoder::Decoder(const Checkpoint& checkpoint, const ModelRank& rank, const MixtralOptions& options,
                 RowLayoutChooser chooser, StepTimer& timer)
    : rank_(rank),
      config_(checkpoint.config()),
      options_(options),
      chooser_(std::move(chooser)),
      timer_(timer),
      graphs_(rank.backend),
      shard_(make_shard_plan(rank.topology, rank.rank(), config_.num_kv_heads, config_.vocab_size,
                             config_.intermediate_size, options_.experts_of_place)),
      weights_(load_shard_weights(checkpoint, shard_, rank.backend, options_.load)),
      kv_(rank.backend, {config_.num_layers, options_.num_pages + (rank.backend.supports_capture() ? 1 : 0),
                         shard_.kv_heads.size(), config_.head_dim, options_.kv_dtype}),
      tp_reducer_(make_reducer(rank.backend, *rank.comms.tp, options_.max_rows * config_.hidden_size)),
      replicated_rows_(*tp_reducer_),
      sliced_rows_(rank.backend, *rank.comms.tp, *tp_reducer_, options_.max_rows, config_.hidden_size),
      replicated_exchange_(rank.backend, rank.comms, rank.topology, exchange_shape(config_, options_, rank)),
      all_to_all_exchange_(rank.backend, rank.comms, rank.topology, exchange_shape(config_, options_, rank)),
      workspace_(rank.backend, config_, shard_, options_.max_rows,
                 std::max(replicated_exchange_.max_assignments(), all_to_all_exchange_.max_assignments())),
      chosen_(rank.backend, config_.num_layers, options_.max_rows, config_.experts_per_token),
      attention_{shard_.kv_heads.size() * (config_.num_heads / config_.num_kv_heads), shard_.kv_heads.size(),
                 config_.head_dim, config_.sliding_window},
      inputs_(rank.backend, config_, {options_.max_rows, options_.max_logit_rows, pages_for(options_.max_context)}),
      residual_(rank.backend.allocate_tensor(DType::kF32, {options_.max_rows, config_.hidden_size})),
      selected_(rank.backend.allocate_tensor(DType::kF32, {options_.max_logit_rows, config_.hidden_size})),
      logits_(rank.backend.allocate_tensor(DType::kF32, {options_.max_logit_rows, shard_.vocabulary.size()})),
      row_planner_(rank.topology, rank.rank()) {}

RowLayoutKind Decoder::choose_layout(const StepPlan& plan) const {
  int64_t most = 0;
  for (const GroupPlan& group : plan.groups) most = std::max(most, group.num_rows());
  return chooser_.choose(most);
}

Decoder::Strategy Decoder::strategy_of(RowLayoutKind layout) {
  if (layout == RowLayoutKind::kSliced) return {sliced_rows_, all_to_all_exchange_};
  return {replicated_rows_, replicated_exchange_};
}

std::optional<DecodeShape> Decoder::padded_shape(const StepPlan& plan, RowLayoutKind layout) const {
  if (!rank_.backend.supports_capture() || layout != RowLayoutKind::kReplicated) return std::nullopt;
  return decode_shape(plan, {std::min(options_.max_rows, options_.max_logit_rows), pages_for(options_.max_context)});
}

DecodedStep Decoder::run(const StepPlan& plan, Stream& stream) {
  OCTET_CHECK(std::ssize(plan.groups) == rank_.topology.dp, "{} groups", plan.groups.size());
  const GroupPlan& group = my_group(plan);
  OCTET_CHECK(group.num_rows() <= options_.max_rows && std::ssize(group.logit_rows) <= options_.max_logit_rows);
  const RowLayoutKind layout = choose_layout(plan);
  row_planner_.plan(plan, layout, rows_);
  const std::optional<DecodeShape> shape = padded_shape(plan, layout);
  if (shape) {
    pad_decode_plan(plan, *shape, scratch_page(), padded_plan_);
    row_planner_.plan(padded_plan_, layout, padded_rows_);
  }
  const PlanRows& rows = shape ? padded_rows_ : rows_;
  const UploadedStep inputs =
      inputs_.upload(my_group(shape ? padded_plan_ : plan), rows, shape ? shape->pages : 0, stream);
  if (shape && options_.graphs) {
    graphs_.run(*shape, stream, [&] { enqueue(rows, inputs, stream); });
  } else {
    enqueue(rows, inputs, stream);
  }
  return {logits_.view.slice_rows(0, std::ssize(group.logit_rows)), rows_, chosen_};
}

// From the uploaded rows to this rank's columns of the logits: nothing here looks at the host's memory or waits for the
// device in the replicated layout, so that it can be captured.
void Decoder::enqueue(const PlanRows& rows, const UploadedStep& inputs, Stream& stream) {
  Backend& backend = rank_.backend;
  CommProgress& progress = rank_.comms.world.progress();
  const Strategy strategy = strategy_of(rows.layout);
  const Range mine = rows.all.mine;
  TensorView x = residual_.view.slice_rows(0, mine.size());
  backend.embed(inputs.token_ids.slice_rows(mine.begin, mine.size()), weights_.embedding.view, x, stream);
  const TensorView rope_table = workspace_.rope_table.view.slice_rows(0, rows.all.num_rows);
  backend.rope_table(inputs.batch.positions, inputs.frequencies, rope_table, stream);
  const StepContext step{backend, stream,     config_,    strategy.rows, strategy.experts, progress,
                         timer_,  workspace_, attention_, inputs.batch,  rope_table};
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    const bool is_last = layer == config_.num_layers - 1;
    progress.set_place(static_cast<int>(layer), Phase::kGather);
    attention_layer(step, rows.all, weights_.attention[static_cast<size_t>(layer)], kv_.layer(layer), x);
    // A prompt's other rows need no more of the model than the keys and values they have just left.
    if (is_last) x = select(inputs, x, stream);
    moe_layer(step, is_last ? rows.wanted : rows.all, weights_.moe[static_cast<size_t>(layer)],
              chosen_.layer(layer, x.rows()), x);
  }

  timer_.enter(StepPhase::kRest);
  backend.rms_norm(x, weights_.final_norm.view, config_.rms_norm_eps, x, stream);
  progress.set_place(kNoLayer, Phase::kLogits);
  const TensorView wanted = strategy.rows.gather(rows.wanted, x, stream);
  backend.gemm(wanted, weights_.lm_head, logits_.view.slice_rows(0, wanted.rows()), stream);
}

TensorView Decoder::select(const UploadedStep& inputs, TensorView x, Stream& stream) {
  const TensorView selected = selected_.view.slice_rows(0, inputs.wanted_index.rows());
  rank_.backend.gather_rows(x, inputs.wanted_index, selected, stream);
  return selected;
}

}  // namespace octet
