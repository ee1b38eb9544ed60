#include "runtime/model/mixtral.h"

#include <algorithm>
#include <cmath>

#include "parallel/expert_placement.h"
#include "runtime/model/attention_layer.h"
#include "runtime/model/moe_layer.h"

namespace octet {
namespace {

ShardPlan plan_shard(const ModelConfig& config, const Topology& topology, int rank) {
  return make_shard_plan(topology, rank, config.num_kv_heads, config.vocab_size, config.intermediate_size,
                         place_experts_linear(config.num_experts, topology.ep));
}

int64_t pages_of(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

// theta^(-2i / head_dim), rounded to fp32 at each step as the reference implementation does.
Tensor inverse_frequencies(const ModelConfig& config, Backend& backend) {
  std::vector<float> values;
  for (int64_t i = 0; i < config.head_dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(config.head_dim);
    values.push_back(1.0F / static_cast<float>(std::pow(config.rope_theta, static_cast<double>(exponent))));
  }
  Tensor tensor = backend.allocate_tensor(DType::kF32, {static_cast<int64_t>(values.size())});
  HostStream stream;
  backend.upload(values.data(), tensor.view, stream);
  return tensor;
}

}  // namespace

Mixtral::Mixtral(const Checkpoint& checkpoint, const Topology& topology, int rank, Backend& backend,
                 const ModelGroups& groups, const MixtralOptions& options)
    : config_(checkpoint.config()),
      topology_(topology),
      rank_(rank),
      backend_(backend),
      options_(options),
      max_context_(options.max_context > 0 ? options.max_context : config_.max_positions),
      shard_(plan_shard(config_, topology, rank)),
      weights_(load_shard_weights(checkpoint, shard_, backend, options.load)),
      kv_(backend, {config_.num_layers, options.num_pages, shard_.kv_heads.size(), config_.head_dim, options.kv_dtype}),
      tp_reducer_(backend, groups.tp, options.max_rows * config_.hidden_size),
      expert_reducer_(backend, groups.experts, options.max_rows * config_.hidden_size),
      rows_(tp_reducer_),
      exchange_(backend, expert_reducer_,
                {config_.num_experts, config_.experts_per_token, shard_.experts, options.max_rows}),
      workspace_(backend, config_, shard_, options.max_rows, exchange_.max_assignments(options.max_rows)),
      attention_{shard_.kv_heads.size() * (config_.num_heads / config_.num_kv_heads), shard_.kv_heads.size(),
                 config_.head_dim, config_.sliding_window},
      inverse_frequency_(inverse_frequencies(config_, backend)),
      token_ids_(backend.allocate_tensor(DType::kI32, {options.max_rows})),
      positions_(backend.allocate_tensor(DType::kI32, {options.max_rows})),
      page_tables_(backend.allocate_tensor(DType::kI32, {options.max_rows * pages_of(max_context_)})),
      row_index_(backend.allocate_tensor(DType::kI32, {options.max_logit_rows})),
      residual_(backend.allocate_tensor(DType::kF32, {options.max_rows, config_.hidden_size})),
      selected_(backend.allocate_tensor(DType::kF32, {options.max_logit_rows, config_.hidden_size})),
      logits_(backend.allocate_tensor(DType::kF32, {options.max_logit_rows, config_.vocab_size})),
      host_logits_(Tensor::host(DType::kF32, {options.max_logit_rows, config_.vocab_size})) {}

PagedBatch Mixtral::upload_batch(const GroupPlan& group) {
  const int64_t num_rows = group.num_rows();
  backend_.upload(group.token_ids.data(), token_ids_.view.slice_rows(0, num_rows), stream_);

  host_index_.clear();
  for (const SequenceRows& s : group.sequences) {
    for (int32_t i = 0; i < s.num_rows; ++i) host_index_.push_back(s.first_position + i);
  }
  OCTET_CHECK(static_cast<int64_t>(host_index_.size()) == num_rows, "{} positions for {} rows", host_index_.size(),
              num_rows);
  const TensorView positions = positions_.view.slice_rows(0, num_rows);
  backend_.upload(host_index_.data(), positions, stream_);

  size_t width = 0;
  for (const auto& pages : group.page_tables) width = std::max(width, pages.size());
  host_index_.assign(width * group.page_tables.size(), 0);
  for (size_t s = 0; s < group.page_tables.size(); ++s) {
    std::copy(group.page_tables[s].begin(), group.page_tables[s].end(),
              host_index_.begin() + static_cast<long>(s * width));
  }
  const TensorView page_tables{page_tables_.view.data,
                               DType::kI32,
                               {static_cast<int64_t>(group.page_tables.size()), static_cast<int64_t>(width)}};
  backend_.upload(host_index_.data(), page_tables, stream_);
  return {group.sequences, positions, page_tables};
}

TensorView Mixtral::select_logit_rows(const GroupPlan& group, TensorView x) {
  const int64_t count = static_cast<int64_t>(group.logit_rows.size());
  const TensorView row_index = row_index_.view.slice_rows(0, count);
  const TensorView selected = selected_.view.slice_rows(0, count);
  backend_.upload(group.logit_rows.data(), row_index, stream_);
  backend_.gather_rows(x, row_index, selected, stream_);
  return selected;
}

Result<StepResult> Mixtral::run(const StepPlan& plan) {
  const GroupPlan& group = plan.groups.at(static_cast<size_t>(topology_.dp_index(rank_)));
  OCTET_CHECK(group.num_rows() <= max_rows() && static_cast<int64_t>(group.logit_rows.size()) <= max_logit_rows());
  const PagedBatch batch = upload_batch(group);
  TensorView x = residual_.view.slice_rows(0, group.num_rows());
  backend_.embed(token_ids_.view.slice_rows(0, x.rows()), weights_.embedding.view, x, stream_);
  const TensorView rope_table = workspace_.rope_table.view.slice_rows(0, x.rows());
  backend_.rope_table(batch.positions, inverse_frequency_.view, rope_table, stream_);
  const StepContext step{backend_, stream_, config_, rows_, exchange_, workspace_, attention_, batch, rope_table};

  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    attention_layer(step, weights_.attention[static_cast<size_t>(layer)], kv_.layer(layer), x);
    // A prompt's other rows need no more of the model than the keys and values they have just left.
    if (layer == config_.num_layers - 1) x = select_logit_rows(group, x);
    moe_layer(step, weights_.moe[static_cast<size_t>(layer)], x);
  }

  const TensorView logits = logits_.view.slice_rows(0, x.rows());
  backend_.rms_norm(x, weights_.final_norm.view, config_.rms_norm_eps, x, stream_);
  backend_.gemm(x, weights_.lm_head, logits, stream_);
  const TensorView host_logits = host_logits_.view.slice_rows(0, x.rows());
  backend_.download(logits, host_logits.data, stream_);
  stream_.synchronize();
  return StepResult{host_logits};
}

}  // namespace octet
