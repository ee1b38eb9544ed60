#include "runtime/model/mixtral.h"

#include <algorithm>
#include <cmath>

#include "parallel/expert_placement.h"
#include "runtime/model/attention_layer.h"
#include "runtime/model/moe_layer.h"

namespace octet {
namespace {

int64_t pages_of(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

// theta^(-2i / head_dim), rounded to fp32 at each step as the reference implementation does.
Tensor inverse_frequencies(const ModelConfig& config, Backend& backend) {
  std::vector<float> values;
  for (int64_t i = 0; i < config.head_dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(config.head_dim);
    values.push_back(1.0F / static_cast<float>(std::pow(config.rope_theta, static_cast<double>(exponent))));
  }
  Tensor tensor = backend.allocate_tensor(DType::kF32, {static_cast<int64_t>(values.size())});
  backend.upload_and_wait(values.data(), tensor.view);
  return tensor;
}

}  // namespace

Result<std::unique_ptr<Mixtral>> Mixtral::create(const Checkpoint& checkpoint, const Topology& topology,
                                                 Backend& backend, ModelComms& comms, MixtralOptions options) {
  const ModelConfig& config = checkpoint.config();
  if (options.max_context == 0) options.max_context = config.max_positions;
  if (options.experts_of_place.empty()) {
    options.experts_of_place = place_experts_linear(config.num_experts, topology.ep);
  }
  OCTET_ASSIGN_OR_RETURN(
      RowLayoutChooser chooser,
      RowLayoutChooser::create(options.exchange, topology, config.num_experts, config.experts_per_token,
                               config.hidden_size, dtype_size(options.exchange_dtype)));
  const ExchangeShape exchange{config.num_experts, config.experts_per_token, config.hidden_size,
                               options.max_rows,   options.experts_of_place, options.exchange_dtype};
  return std::unique_ptr<Mixtral>(
      new Mixtral(checkpoint, topology, backend, comms, std::move(options), exchange, std::move(chooser)));
}

Mixtral::Mixtral(const Checkpoint& checkpoint, const Topology& topology, Backend& backend, ModelComms& comms,
                 MixtralOptions options, const ExchangeShape& exchange, RowLayoutChooser chooser)
    : config_(checkpoint.config()),
      topology_(topology),
      backend_(backend),
      comms_(comms),
      stream_(backend.make_stream()),
      options_(std::move(options)),
      chooser_(std::move(chooser)),
      shard_(make_shard_plan(topology, comms.world.rank(), config_.num_kv_heads, config_.vocab_size,
                             config_.intermediate_size, options_.experts_of_place)),
      weights_(load_shard_weights(checkpoint, shard_, backend, options_.load)),
      kv_(backend,
          {config_.num_layers, options_.num_pages, shard_.kv_heads.size(), config_.head_dim, options_.kv_dtype}),
      tp_reducer_(backend, *comms.tp, options_.max_rows * config_.hidden_size),
      replicated_rows_(tp_reducer_),
      sliced_rows_(backend, *comms.tp, tp_reducer_, options_.max_rows, config_.hidden_size),
      replicated_exchange_(backend, comms, topology, exchange),
      all_to_all_exchange_(backend, comms, topology, exchange),
      workspace_(backend, config_, shard_, options_.max_rows,
                 std::max(replicated_exchange_.max_assignments(), all_to_all_exchange_.max_assignments())),
      attention_{shard_.kv_heads.size() * (config_.num_heads / config_.num_kv_heads), shard_.kv_heads.size(),
                 config_.head_dim, config_.sliding_window},
      inverse_frequency_(inverse_frequencies(config_, backend)),
      token_ids_(backend.allocate_tensor(DType::kI32, {options_.max_rows})),
      positions_(backend.allocate_tensor(DType::kI32, {options_.max_rows})),
      page_tables_(backend.allocate_tensor(DType::kI32, {options_.max_rows * pages_of(options_.max_context)})),
      row_index_(backend.allocate_tensor(DType::kI32, {options_.max_logit_rows})),
      residual_(backend.allocate_tensor(DType::kF32, {options_.max_rows, config_.hidden_size})),
      selected_(backend.allocate_tensor(DType::kF32, {options_.max_logit_rows, config_.hidden_size})),
      logits_(backend.allocate_tensor(DType::kF32, {options_.max_logit_rows, shard_.vocabulary.size()})),
      group_rows_(static_cast<size_t>(topology.dp)),
      send_counts_(static_cast<size_t>(topology.world)),
      receive_counts_(static_cast<size_t>(topology.world)) {
  if (comms.world.rank() != 0) return;
  const Shape all_logits{topology.dp * options_.max_logit_rows, config_.vocab_size};
  host_logits_.buffer = backend.allocate_host(static_cast<size_t>(all_logits.num_elements()) * sizeof(float));
  host_logits_.view = {host_logits_.buffer.data(), DType::kF32, all_logits};
  if (topology.world > 1) gathered_logits_ = backend.allocate_tensor(DType::kF32, {all_logits.num_elements(), 1});
}

Mixtral::Strategy Mixtral::choose_strategy(const StepPlan& plan) {
  for (size_t g = 0; g < plan.groups.size(); ++g) group_rows_[g] = plan.groups[g].num_rows();
  const int64_t most = *std::max_element(group_rows_.begin(), group_rows_.end());
  if (chooser_.choose(most) == RowLayoutKind::kSliced) return {&sliced_rows_, &all_to_all_exchange_};
  return {&replicated_rows_, &replicated_exchange_};
}

PagedBatch Mixtral::upload_batch(const GroupPlan& group) {
  const int64_t num_rows = group.num_rows();
  backend_.upload(group.token_ids.data(), token_ids_.view.slice_rows(0, num_rows), *stream_);

  host_index_.clear();
  for (const SequenceRows& s : group.sequences) {
    for (int32_t i = 0; i < s.num_rows; ++i) host_index_.push_back(s.first_position + i);
  }
  OCTET_CHECK(static_cast<int64_t>(host_index_.size()) == num_rows, "{} positions for {} rows", host_index_.size(),
              num_rows);
  const TensorView positions = positions_.view.slice_rows(0, num_rows);
  backend_.upload(host_index_.data(), positions, *stream_);

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
  backend_.upload(host_index_.data(), page_tables, *stream_);
  return {group.sequences, positions, page_tables};
}

TensorView Mixtral::select_logit_rows(const StepPlan& plan, const Strategy& strategy, TensorView x) {
  for (size_t g = 0; g < plan.groups.size(); ++g) group_rows_[g] = std::ssize(plan.groups[g].logit_rows);
  strategy.experts->begin(group_rows_);
  const std::vector<int32_t>& wanted =
      plan.groups[static_cast<size_t>(topology_.dp_index(comms_.world.rank()))].logit_rows;
  const Range mine = strategy.rows->select(wanted);
  host_index_.assign(wanted.begin() + mine.begin, wanted.begin() + mine.end);
  for (int32_t& row : host_index_) row -= static_cast<int32_t>(first_row_);
  const TensorView row_index = row_index_.view.slice_rows(0, mine.size());
  const TensorView selected = selected_.view.slice_rows(0, mine.size());
  backend_.upload(host_index_.data(), row_index, *stream_);
  backend_.gather_rows(x, row_index, selected, *stream_);
  return selected;
}

TensorView Mixtral::collect_logits(const StepPlan& plan, TensorView shard) {
  const bool is_root = comms_.world.rank() == 0;
  int64_t num_rows = 0;
  for (const GroupPlan& group : plan.groups) num_rows += std::ssize(group.logit_rows);
  const TensorView result =
      is_root ? host_logits_.view.slice_rows(0, num_rows) : TensorView{nullptr, DType::kF32, {0, 0}};
  if (topology_.world == 1) {
    backend_.download(shard, result.data, *stream_);
    return result;
  }
  const auto shard_size = [&](int rank) {
    const Range columns = near_equal_part(config_.vocab_size, topology_.tp, topology_.tp_index(rank));
    return std::ssize(plan.groups[static_cast<size_t>(topology_.dp_index(rank))].logit_rows) * columns.size();
  };
  std::fill(send_counts_.begin(), send_counts_.end(), 0);
  std::fill(receive_counts_.begin(), receive_counts_.end(), 0);
  send_counts_[0] = shard.num_elements();
  for (int rank = 0; is_root && rank < topology_.world; ++rank)
    receive_counts_[static_cast<size_t>(rank)] = shard_size(rank);
  const TensorView gathered{gathered_logits_.view.data, DType::kF32, {is_root ? num_rows * config_.vocab_size : 0, 1}};
  comms_.world.progress().set_place(kNoLayer, Phase::kLogits);
  comms_.all->all_to_all_v({shard.data, DType::kF32, {shard.num_elements(), 1}}, send_counts_, gathered,
                           receive_counts_, *stream_);
  if (!is_root) return result;
  scatter_columns(plan, gathered, result.as<float>());
  return result;
}

// From [rank][row][column of its vocabulary] on the device to [row][column] in host memory.
void Mixtral::scatter_columns(const StepPlan& plan, TensorView gathered, float* out) {
  int64_t next = 0;
  for (const GroupPlan& group : plan.groups) {
    const int64_t num_rows = std::ssize(group.logit_rows);
    for (int tp_index = 0; tp_index < topology_.tp; ++tp_index) {
      const Range columns = near_equal_part(config_.vocab_size, topology_.tp, tp_index);
      for (int64_t row = 0; row < num_rows; ++row, next += columns.size()) {
        backend_.download(gathered.slice_rows(next, columns.size()), out + row * config_.vocab_size + columns.begin,
                          *stream_);
      }
    }
    out += num_rows * config_.vocab_size;
  }
}

Result<StepResult> Mixtral::run(const StepPlan& plan) {
  OCTET_CHECK(std::ssize(plan.groups) == topology_.dp, "{} groups", plan.groups.size());
  const GroupPlan& group = plan.groups[static_cast<size_t>(topology_.dp_index(comms_.world.rank()))];
  OCTET_CHECK(group.num_rows() <= max_rows() && std::ssize(group.logit_rows) <= max_logit_rows());
  timer_.enter(StepPhase::kRest);
  const Strategy strategy = choose_strategy(plan);
  const PagedBatch batch = upload_batch(group);
  const Range mine = strategy.rows->begin(group.num_rows());
  first_row_ = mine.begin;
  strategy.experts->begin(group_rows_);

  TensorView x = residual_.view.slice_rows(0, mine.size());
  backend_.embed(token_ids_.view.slice_rows(mine.begin, mine.size()), weights_.embedding.view, x, *stream_);
  const TensorView rope_table = workspace_.rope_table.view.slice_rows(0, group.num_rows());
  backend_.rope_table(batch.positions, inverse_frequency_.view, rope_table, *stream_);
  const StepContext step{backend_, *stream_,   config_,    *strategy.rows, *strategy.experts, comms_.world.progress(),
                         timer_,   workspace_, attention_, batch,          rope_table};
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    comms_.world.progress().set_place(static_cast<int>(layer), Phase::kGather);
    attention_layer(step, weights_.attention[static_cast<size_t>(layer)], kv_.layer(layer), x);
    // A prompt's other rows need no more of the model than the keys and values they have just left.
    if (layer == config_.num_layers - 1) x = select_logit_rows(plan, strategy, x);
    moe_layer(step, weights_.moe[static_cast<size_t>(layer)], x);
  }

  timer_.enter(StepPhase::kRest);
  backend_.rms_norm(x, weights_.final_norm.view, config_.rms_norm_eps, x, *stream_);
  comms_.world.progress().set_place(kNoLayer, Phase::kLogits);
  const TensorView wanted = strategy.rows->gather(x, *stream_);
  const TensorView shard = logits_.view.slice_rows(0, wanted.rows());
  backend_.gemm(wanted, weights_.lm_head, shard, *stream_);
  const TensorView logits = collect_logits(plan, shard);
  stream_->synchronize();
  timer_.stop();
  return StepResult{logits};
}

}  // namespace octet
