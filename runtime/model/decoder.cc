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

StepLimits step_limits(const MixtralOptions& options, const Backend& backend) {
  return {options.max_rows, options.max_logit_rows, backend.supports_capture()};
}

}  // namespace

Decoder::Decoder(const ModelConfig& config, const ModelRank& rank, const MixtralOptions& options,
                 RowLayoutChooser chooser, StepTimer& timer)
    : rank_(rank),
      config_(config),
      options_(options),
      chooser_(std::move(chooser)),
      timer_(timer),
      graphs_(rank.backend),
      shard_(make_shard_plan(rank.topology, rank.rank(), config_.num_kv_heads, config_.vocab_size,
                             config_.intermediate_size, options_.experts_of_place)),
      kv_(rank.backend, {config_.num_layers, options_.num_pages + (rank.backend.supports_capture() ? 1 : 0),
                         shard_.kv_heads.size(), config_.head_dim, options_.kv_dtype}),
      strategies_(rank, exchange_shape(config_, options_, rank),
                  most_rows_of_steps(chooser_, step_limits(options_, rank.backend))),
      workspace_(rank.backend, config_, shard_, options_.max_rows, strategies_.max_assignments()),
      chosen_(rank.backend, config_.num_layers, options_.max_rows, config_.experts_per_token),
      attention_{shard_.kv_heads.size() * (config_.num_heads / config_.num_kv_heads), shard_.kv_heads.size(),
                 config_.head_dim, config_.sliding_window},
      inputs_(rank.backend, config_, {options_.max_rows, options_.max_logit_rows, pages_for(options_.max_context)}),
      residual_(rank.backend.allocate_tensor(DType::kF32, {options_.max_rows, config_.hidden_size})),
      selected_(rank.backend.allocate_tensor(DType::kF32, {options_.max_logit_rows, config_.hidden_size})),
      logits_(rank.backend.allocate_tensor(DType::kF32, {options_.max_logit_rows, shard_.vocabulary.size()})),
      row_planner_(rank.topology, rank.rank()) {}

void Decoder::load(const Checkpoint& checkpoint) {
  weights_ = load_shard_weights(checkpoint, shard_, rank_.backend, options_.load);
  experts_ = ExpertStore(std::move(weights_.experts));
}

RowLayoutKind Decoder::choose_layout(const StepPlan& plan) const {
  int64_t most = 0;
  for (const GroupPlan& group : plan.groups) most = std::max(most, group.num_rows());
  return chooser_.choose(most);
}

std::optional<DecodeShape> Decoder::padded_shape(const StepPlan& plan, RowLayoutKind layout) const {
  if (!rank_.backend.supports_capture() || layout != RowLayoutKind::kReplicated) return std::nullopt;
  return decode_shape(plan, {step_limits(options_, rank_.backend).decode_rows(), pages_for(options_.max_context)});
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
  return {logits_.view.slice_rows(0, std::ssize(group.logit_rows)), rows_, rows, chosen_};
}

// From the uploaded rows to this rank's columns of the logits: nothing here looks at the host's memory or waits for the
// device in the replicated layout, so that it can be captured.
void Decoder::enqueue(const PlanRows& rows, const UploadedStep& inputs, Stream& stream) {
  Backend& backend = rank_.backend;
  CommProgress& progress = rank_.comms.world.progress();
  const RowStrategy& strategy = strategies_.of(rows.layout);
  const Range mine = rows.all.mine;
  TensorView x = residual_.view.slice_rows(0, mine.size());
  backend.embed(inputs.token_ids.slice_rows(mine.begin, mine.size()), weights_.embedding.view, x, stream);
  const TensorView rope_table = workspace_.rope_table.view.slice_rows(0, rows.all.num_rows);
  backend.rope_table(inputs.batch.positions, inputs.frequencies, rope_table, stream);
  const StepContext step{backend,  stream, config_,    *strategy.rows, *strategy.experts, experts_,
                         progress, timer_, workspace_, attention_,     inputs.batch,      rope_table};
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    const bool is_last = layer == config_.num_layers - 1;
    progress.set_place(static_cast<int>(layer), Phase::kGather);
    attention_layer(step, rows.all, weights_.attention[static_cast<size_t>(layer)], kv_.layer(layer), x);
    // A prompt's other rows need no more of the model than the keys and values they have just left.
    if (is_last) x = select(inputs, x, stream);
    moe_layer(step, is_last ? rows.wanted : rows.all, layer, weights_.moe[static_cast<size_t>(layer)],
              chosen_.layer(layer, rows), x);
  }

  timer_.enter(StepPhase::kRest);
  backend.rms_norm(x, weights_.final_norm.view, config_.rms_norm_eps, x, stream);
  progress.set_place(kNoLayer, Phase::kLogits);
  const TensorView wanted = strategy.rows->gather(rows.wanted, x, stream);
  backend.gemm(wanted, weights_.lm_head, logits_.view.slice_rows(0, wanted.rows()), stream);
}

TensorView Decoder::select(const UploadedStep& inputs, TensorView x, Stream& stream) {
  const TensorView selected = selected_.view.slice_rows(0, inputs.wanted_index.rows());
  rank_.backend.gather_rows(x, inputs.wanted_index, selected, stream);
  return selected;
}

}  // namespace octet
