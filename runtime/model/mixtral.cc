#include "runtime/model/mixtral.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "parallel/expert_placement.h"
#include "runtime/model/attention_layer.h"
#include "runtime/model/moe_layer.h"

namespace octet {
namespace {

bool rope_follows_position(const ModelConfig& config) { return config.rope_scaling.kind == RopeKind::kDynamic; }

// One row for all positions; where they differ, room for those of a step.
Tensor rope_tensor(const ModelConfig& config, Backend& backend, int64_t max_rows) {
  const int64_t width = config.head_dim / 2 + 1;
  if (rope_follows_position(config)) return backend.allocate_tensor(DType::kF32, {max_rows, width});
  std::vector<float> values(static_cast<size_t>(width));
  rope_frequencies(config.rope_scaling, config.rope_theta, 0, values);
  Tensor tensor = backend.allocate_tensor(DType::kF32, {width});
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
  const ExchangeShape exchange{config.num_experts,
                               config.experts_per_token,
                               config.hidden_size,
                               options.max_rows,
                               options.experts_of_place,
                               options.exchange_dtype,
                               backend.memory_kind() == MemoryKind::kHost ? 0 : options.least_kept_rows};
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
      graphs_(backend),
      shard_(make_shard_plan(topology, comms.world.rank(), config_.num_kv_heads, config_.vocab_size,
                             config_.intermediate_size, options_.experts_of_place)),
      weights_(load_shard_weights(checkpoint, shard_, backend, options_.load)),
      kv_(backend, {config_.num_layers, options_.num_pages + (backend.supports_capture() ? 1 : 0),
                    shard_.kv_heads.size(), config_.head_dim, options_.kv_dtype}),
      tp_reducer_(make_reducer(backend, *comms.tp, options_.max_rows * config_.hidden_size)),
      replicated_rows_(*tp_reducer_),
      sliced_rows_(backend, *comms.tp, *tp_reducer_, options_.max_rows, config_.hidden_size),
      replicated_exchange_(backend, comms, topology, exchange),
      all_to_all_exchange_(backend, comms, topology, exchange),
      workspace_(backend, config_, shard_, options_.max_rows,
                 std::max(replicated_exchange_.max_assignments(), all_to_all_exchange_.max_assignments())),
      chosen_(backend, config_.num_layers, options_.max_rows, config_.experts_per_token),
      expert_load_(config_.num_layers, config_.num_experts),
      totals_{.expert_load = expert_load_},
      attention_{shard_.kv_heads.size() * (config_.num_heads / config_.num_kv_heads), shard_.kv_heads.size(),
                 config_.head_dim, config_.sliding_window},
      inverse_frequency_(rope_tensor(config_, backend, options_.max_rows)),
      token_ids_(backend.allocate_tensor(DType::kI32, {options_.max_rows})),
      positions_(backend.allocate_tensor(DType::kI32, {options_.max_rows})),
      page_tables_(backend.allocate_tensor(DType::kI32, {options_.max_rows * pages_for(options_.max_context)})),
      row_index_(backend.allocate_tensor(DType::kI32, {options_.max_logit_rows})),
      residual_(backend.allocate_tensor(DType::kF32, {options_.max_rows, config_.hidden_size})),
      selected_(backend.allocate_tensor(DType::kF32, {options_.max_logit_rows, config_.hidden_size})),
      logits_(backend.allocate_tensor(DType::kF32, {options_.max_logit_rows, shard_.vocabulary.size()})),
      rows_of_rank_(static_cast<size_t>(topology.world)),
      send_counts_(static_cast<size_t>(topology.world)),
      receive_counts_(static_cast<size_t>(topology.world)) {
  if (comms.world.rank() != 0) return;
  const Shape all_logits{topology.dp * options_.max_logit_rows, config_.vocab_size};
  if (backend.memory_kind() != MemoryKind::kHost) host_logits_ = backend.allocate_host_tensor(DType::kF32, all_logits);
  if (topology.world == 1) return;
  gathered_logits_ = backend.allocate_tensor(DType::kF32, {all_logits.num_elements(), 1});
  all_logits_ = backend.allocate_tensor(DType::kF32, all_logits);
}

Mixtral::Strategy Mixtral::choose_strategy(const StepPlan& plan) {
  int64_t most = 0;
  for (const GroupPlan& group : plan.groups) most = std::max(most, group.num_rows());
  if (chooser_.choose(most) == RowLayoutKind::kSliced) return {&sliced_rows_, &all_to_all_exchange_};
  return {&replicated_rows_, &replicated_exchange_};
}

void Mixtral::count_rows(const StepPlan& plan, const Strategy& strategy, bool selected) {
  auto rows_of = std::span(rows_of_rank_);
  for (const GroupPlan& group : plan.groups) {
    const auto of_group = rows_of.first(static_cast<size_t>(topology_.tp));
    strategy.rows->count(group.num_rows(), of_group);
    if (selected) strategy.rows->count_selected(group.logit_rows, of_group);
    rows_of = rows_of.subspan(of_group.size());
  }
  strategy.experts->begin(rows_of_rank_);
}

PagedBatch Mixtral::upload_batch(const GroupPlan& group, int64_t least_pages) {
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
  if (rope_follows_position(config_)) upload_frequencies(host_index_);

  auto width = static_cast<size_t>(least_pages);
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

void Mixtral::upload_frequencies(std::span<const int32_t> positions) {
  const auto width = static_cast<size_t>(inverse_frequency_.view.row_elements());
  host_frequencies_.resize(positions.size() * width);
  for (size_t r = 0; r < positions.size(); ++r) {
    rope_frequencies(config_.rope_scaling, config_.rope_theta, positions[r],
                     std::span(host_frequencies_).subspan(r * width, width));
  }
  backend_.upload(host_frequencies_.data(), inverse_frequency_.view.slice_rows(0, std::ssize(positions)), *stream_);
}

std::span<const int32_t> Mixtral::kept_logit_rows(const GroupPlan& group, const Strategy& strategy) {
  const Range kept = strategy.rows->begin(group.num_rows());
  const Range wanted = strategy.rows->select(group.logit_rows);
  host_index_.assign(group.logit_rows.begin() + wanted.begin, group.logit_rows.begin() + wanted.end);
  for (int32_t& row : host_index_) row -= static_cast<int32_t>(kept.begin);
  return host_index_;
}

TensorView Mixtral::select_logit_rows(const StepPlan& plan, const Strategy& strategy, TensorView x) {
  count_rows(plan, strategy, true);
  const int64_t num_rows = strategy.rows->select(my_group(plan).logit_rows).size();
  const TensorView selected = selected_.view.slice_rows(0, num_rows);
  backend_.gather_rows(x, row_index_.view.slice_rows(0, num_rows), selected, *stream_);
  return selected;
}

TensorView Mixtral::collect_logits(const StepPlan& plan, TensorView shard) {
  if (topology_.world == 1) return shard;
  const bool is_root = comms_.world.rank() == 0;
  int64_t num_rows = 0;
  for (const GroupPlan& group : plan.groups) num_rows += std::ssize(group.logit_rows);
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
  if (!is_root) return {nullptr, DType::kF32, {0, config_.vocab_size}};
  const TensorView all = all_logits_.view.slice_rows(0, num_rows);
  place_columns(plan, gathered_logits_.view.as<float>(), all);
  return all;
}

void Mixtral::place_columns(const StepPlan& plan, float* gathered, TensorView out) {
  int64_t first_row = 0;
  for (const GroupPlan& group : plan.groups) {
    const int64_t num_rows = std::ssize(group.logit_rows);
    const TensorView of_group = out.slice_rows(first_row, num_rows);
    for (int tp_index = 0; tp_index < topology_.tp; ++tp_index) {
      const Range columns = near_equal_part(config_.vocab_size, topology_.tp, tp_index);
      const TensorView part{gathered, DType::kF32, {num_rows, columns.size()}};
      backend_.copy_columns(part, of_group, columns.begin, *stream_);
      gathered += part.num_elements();
    }
    first_row += num_rows;
  }
}

StepResult Mixtral::answer(const StepPlan& plan, TensorView logits) {
  StepResult result{.logits = {nullptr, DType::kF32, {0, config_.vocab_size}}};
  if (comms_.world.rank() != 0) return result;
  const auto begin = std::chrono::steady_clock::now();
  result.samples = sample(plan.sampling, logits);
  result.sample_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (!plan.wants_logits) return result;
  result.logits = logits;
  if (backend_.memory_kind() == MemoryKind::kHost) return result;
  result.logits.data = host_logits_.view.data;
  backend_.download(logits, result.logits.data, *stream_);
  return result;
}

SampledRows Mixtral::sample(const SamplingBatch& batch, TensorView logits) {
  const int64_t num_top = batch.most_top();
  const Shape shape{batch.size(), SampledRows::stride(num_top)};
  if (shape.num_elements() > samples_.view.num_bytes()) {
    samples_ = backend_.allocate_tensor(DType::kI8, {shape.num_elements()});
    if (backend_.memory_kind() != MemoryKind::kHost) {
      host_samples_ = backend_.allocate_host_tensor(DType::kI8, {shape.num_elements()});
    }
  }
  const TensorView answers{samples_.view.data, DType::kI8, shape};
  if (batch.size() > 0) backend_.sample(logits, batch, answers, *stream_);
  if (backend_.memory_kind() == MemoryKind::kHost) return {static_cast<std::byte*>(answers.data), num_top};
  backend_.download(answers, host_samples_.view.data, *stream_);
  return {static_cast<std::byte*>(host_samples_.view.data), num_top};
}

// From the uploaded rows to this rank's shard of the logits: nothing here looks at the host's memory or waits for the
// device in the replicated layout, so that it can be captured.
void Mixtral::enqueue_layers(const StepPlan& plan, const Strategy& strategy, const PagedBatch& batch) {
  const Range mine = strategy.rows->begin(my_group(plan).num_rows());
  count_rows(plan, strategy, false);
  TensorView x = residual_.view.slice_rows(0, mine.size());
  backend_.embed(token_ids_.view.slice_rows(mine.begin, mine.size()), weights_.embedding.view, x, *stream_);
  const TensorView rope_table = workspace_.rope_table.view.slice_rows(0, my_group(plan).num_rows());
  backend_.rope_table(batch.positions, inverse_frequency_.view, rope_table, *stream_);
  const StepContext step{backend_, *stream_,   config_,    *strategy.rows, *strategy.experts, comms_.world.progress(),
                         timer_,   workspace_, attention_, batch,          rope_table};
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    comms_.world.progress().set_place(static_cast<int>(layer), Phase::kGather);
    attention_layer(step, weights_.attention[static_cast<size_t>(layer)], kv_.layer(layer), x);
    // A prompt's other rows need no more of the model than the keys and values they have just left.
    if (layer == config_.num_layers - 1) x = select_logit_rows(plan, strategy, x);
    moe_layer(step, weights_.moe[static_cast<size_t>(layer)], chosen_.layer(layer, x.rows()), x);
  }

  timer_.enter(StepPhase::kRest);
  backend_.rms_norm(x, weights_.final_norm.view, config_.rms_norm_eps, x, *stream_);
  comms_.world.progress().set_place(kNoLayer, Phase::kLogits);
  const TensorView wanted = strategy.rows->gather(x, *stream_);
  backend_.gemm(wanted, weights_.lm_head, logits_.view.slice_rows(0, wanted.rows()), *stream_);
}

void Mixtral::count_experts(const GroupPlan& group, const Strategy& strategy) {
  const bool sliced = strategy.rows == &sliced_rows_;
  ++totals_.steps_of_layout[static_cast<size_t>(sliced ? RowLayoutKind::kSliced : RowLayoutKind::kReplicated)];
  if (is_copy(strategy)) return;
  const int64_t num_rows = strategy.rows->begin(group.num_rows()).size();
  chosen_.count(num_rows, strategy.rows->select(group.logit_rows).size(), expert_load_);
}

// The ranks' rows are those of the groups in order, each group's ascending.
void Mixtral::collect_experts(const GroupPlan& group, const Strategy& strategy) {
  logit_experts_.clear();
  if (!is_copy(strategy)) chosen_.append(kept_logit_rows(group, strategy), logit_experts_);
  if (topology_.world == 1) return;
  comms_.world.progress().set_place(kNoLayer, Phase::kPlan);
  const auto parts = comms_.world.host().gather(std::as_bytes(std::span(logit_experts_)), /*root=*/0);
  if (comms_.world.rank() != 0) return;
  logit_experts_.clear();
  for (const auto& bytes : parts) {
    const size_t begin = logit_experts_.size();
    logit_experts_.resize(begin + bytes.size() / sizeof(int32_t));
    if (!bytes.empty()) std::memcpy(logit_experts_.data() + begin, bytes.data(), bytes.size());
  }
}

void Mixtral::collect_totals() {
  int64_t waited = 0;
  for (const PhaseTotals& phase : comms_.world.progress().totals()) waited += phase.nanoseconds;
  totals_message_.assign(expert_load_.all().begin(), expert_load_.all().end());
  totals_message_.push_back(waited);
  totals_.expert_load.clear();
  totals_.wait_seconds.clear();
  const auto add_rank = [&] {
    const auto load = std::span<const int64_t>(totals_message_).first(expert_load_.all().size());
    totals_.expert_load.add(load);
    totals_.wait_seconds.push_back(static_cast<double>(totals_message_.back()) * 1e-9);
  };
  if (topology_.world == 1) return add_rank();
  comms_.world.progress().set_place(kNoLayer, Phase::kPlan);
  for (const auto& bytes : comms_.world.host().gather(std::as_bytes(std::span(totals_message_)), /*root=*/0)) {
    std::memcpy(totals_message_.data(), bytes.data(), bytes.size());
    add_rank();
  }
}

std::optional<DecodeShape> Mixtral::padded_shape(const StepPlan& plan, const Strategy& strategy) const {
  if (!backend_.supports_capture() || strategy.rows != &replicated_rows_) return std::nullopt;
  return decode_shape(plan, {std::min(max_rows(), max_logit_rows()), pages_for(options_.max_context)});
}

Result<StepResult> Mixtral::run(const StepPlan& plan) {
  OCTET_CHECK(std::ssize(plan.groups) == topology_.dp, "{} groups", plan.groups.size());
  const GroupPlan& group = my_group(plan);
  OCTET_CHECK(group.num_rows() <= max_rows() && std::ssize(group.logit_rows) <= max_logit_rows());
  timer_.enter(StepPhase::kRest);
  const Strategy strategy = choose_strategy(plan);
  const std::optional<DecodeShape> shape = padded_shape(plan, strategy);
  if (shape) pad_decode_plan(plan, *shape, scratch_page(), padded_plan_);
  const StepPlan& step = shape ? padded_plan_ : plan;
  const PagedBatch batch = upload_batch(my_group(step), shape ? shape->pages : 0);
  const auto kept_rows = kept_logit_rows(my_group(step), strategy);
  backend_.upload(kept_rows.data(), row_index_.view.slice_rows(0, std::ssize(kept_rows)), *stream_);
  const auto enqueue = [&] { enqueue_layers(step, strategy, batch); };
  if (shape && options_.graphs) {
    graphs_.run(*shape, *stream_, enqueue);
  } else {
    enqueue();
  }
  const TensorView logits = collect_logits(plan, logits_.view.slice_rows(0, std::ssize(group.logit_rows)));
  StepResult result = answer(plan, logits);
  chosen_.download(*stream_);
  comms_.world.wait(*stream_);
  count_experts(group, strategy);
  if (plan.wants_experts) collect_experts(group, strategy);
  if (plan.wants_totals) collect_totals();
  timer_.stop();
  if (comms_.world.rank() != 0) return result;
  if (plan.wants_totals) result.totals = &totals_;
  if (plan.wants_experts) result.experts = logit_experts_;
  return result;
}

}  // namespace octet
