#include "bench/scaled_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace octet {

std::string ScaledLayout::text() const {
  std::string text = fmt::format("{} x {}", topology.world, threads);
  if (topology.world == 1) return text;
  text += fmt::format(" ep {} etp {}", topology.ep, topology.etp);
  if (exchange != ExchangePolicy::kAuto) text += exchange == ExchangePolicy::kAllToAll ? " all-to-all" : " replicated";
  return text;
}

WorkCost& WorkCost::operator+=(const WorkCost& other) {
  for (size_t i = 0; i < seconds.size(); ++i) seconds[i] += other.seconds[i];
  waiting += other.waiting;
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] += other.bytes[i];
  return *this;
}

WorkCost WorkCost::operator-(const WorkCost& other) const {
  WorkCost difference = *this;
  for (size_t i = 0; i < seconds.size(); ++i) difference.seconds[i] -= other.seconds[i];
  difference.waiting -= other.waiting;
  for (size_t i = 0; i < bytes.size(); ++i) difference.bytes[i] -= other.bytes[i];
  return difference;
}

Result<std::unique_ptr<ScaledModel>> ScaledModel::create(CommWorld& world, const Checkpoint& checkpoint,
                                                         const ScaledLayout& layout, const BackendOptions& backend,
                                                         const MixtralOptions& options) {
  BackendOptions of_rank = backend;
  of_rank.num_threads = layout.threads;
  OCTET_ASSIGN_OR_RETURN(auto made, make_backend(of_rank));
  const ModelConfig& config = checkpoint.config();
  MixtralOptions of_device = options;
  of_device.kv_dtype = made->default_kv_dtype();
  OCTET_RETURN_IF_ERROR(
      made->check_model({options.load.format.value_or(common_matrix_format(checkpoint)), of_device.kv_dtype,
                         config.head_dim, config.num_heads / config.num_kv_heads}));
  const int64_t most_streams = layout.topology.dp * options.max_logit_rows;
  std::unique_ptr<ScaledModel> scaled(new ScaledModel(world, layout.topology, std::move(made), most_streams));
  OCTET_ASSIGN_OR_RETURN(scaled->model_,
                         Mixtral::create(checkpoint, layout.topology, *scaled->backend_, scaled->comms_, of_device));
  return scaled;
}

Result<std::vector<TokenId>> ScaledModel::run(const StepPlan& plan) {
  OCTET_ASSIGN_OR_RETURN(const StepResult result, model_->run(plan));
  int64_t num_streams = 0;
  for (const GroupPlan& group : plan.groups) num_streams += std::ssize(group.logit_rows);
  std::vector<TokenId> tokens(static_cast<size_t>(num_streams));
  const bool is_root = comms_.all->rank() == 0;
  for (int64_t s = 0; is_root && s < num_streams; ++s) {
    const float* row = result.logits.as<float>() + s * model_->vocab_size();
    tokens[static_cast<size_t>(s)] = static_cast<TokenId>(std::max_element(row, row + model_->vocab_size()) - row);
  }
  std::vector<int64_t> rows(static_cast<size_t>(comms_.all->size()), 0);
  rows[0] = num_streams;
  const TensorView all = tokens_.view.slice_rows(0, num_streams);
  if (is_root) backend_->upload(tokens.data(), all, *stream_);
  world_.progress().set_place(kNoLayer, Phase::kPlan);
  comms_.all->all_gather_v(all.slice_rows(0, is_root ? num_streams : 0), rows, all, *stream_);
  backend_->download(all, tokens.data(), *stream_);
  world_.wait(*stream_);
  return tokens;
}

Result<std::vector<TokenId>> ScaledModel::prefill(const Streams& streams) {
  std::vector<TokenId> tokens;
  for (const StepPlan& plan : streams.prefill(model_->max_rows())) {
    OCTET_ASSIGN_OR_RETURN(tokens, run(plan));
  }
  return tokens;
}

Result<std::vector<TokenId>> ScaledModel::decode(const Streams& streams, std::vector<TokenId> tokens, int64_t steps) {
  std::vector<TokenId> all;
  for (int64_t step = 0; step < steps; ++step) {
    OCTET_ASSIGN_OR_RETURN(tokens, run(streams.decode(tokens, step)));
    all.insert(all.end(), tokens.begin(), tokens.end());
  }
  return all;
}

WorkCost ScaledModel::cost() const {
  constexpr std::array<StepPhase, kNumPhases> kStepPhaseOf = {
      StepPhase::kRest,     StepPhase::kRest,    StepPhase::kAttention, StepPhase::kAttention, StepPhase::kDispatch,
      StepPhase::kDispatch, StepPhase::kCombine, StepPhase::kCombine,   StepPhase::kRest};
  WorkCost cost;
  cost.seconds = model_->timer().seconds();
  if (!on_host()) {
    const double all = std::accumulate(cost.seconds.begin(), cost.seconds.end(), 0.0);
    cost.seconds.fill(0);
    cost.seconds[static_cast<size_t>(StepPhase::kRest)] = all;
  }
  const auto totals = world_.progress().totals();
  for (size_t i = 0; i < kNumPhases; ++i) {
    const double seconds = static_cast<double>(totals[i].nanoseconds) * 1e-9;
    cost.bytes[i] = static_cast<double>(totals[i].bytes_sent);
    const auto phase = static_cast<Phase>(i);
    if (phase == Phase::kStart) continue;
    cost.waiting += seconds;
    if (phase == Phase::kPlan) continue;  // between steps
    cost.seconds[static_cast<size_t>(on_host() ? kStepPhaseOf[i] : StepPhase::kRest)] -= seconds;
  }
  return cost;
}

}  // namespace octet
