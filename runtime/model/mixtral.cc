#include "runtime/model/mixtral.h"

#include <chrono>
#include <utility>

#include "parallel/expert_placement.h"

namespace octet {

Result<std::unique_ptr<Mixtral>> Mixtral::create(const Checkpoint& checkpoint, const Topology& topology,
                                                 Backend& backend, ModelComms& comms, MixtralOptions options) {
  OCTET_ASSIGN_OR_RETURN(auto model,
                         make_unloaded(checkpoint.config(), {topology, backend, comms}, std::move(options)));
  model->decoder_.load(checkpoint);
  return model;
}

Result<std::unique_ptr<Mixtral>> Mixtral::make_unloaded(const ModelConfig& config, const ModelRank& rank,
                                                        MixtralOptions options) {
  if (options.max_context == 0) options.max_context = config.max_positions;
  if (options.experts_of_place.empty()) {
    options.experts_of_place = place_experts_linear(config.num_experts, rank.topology.ep);
  }
  OCTET_ASSIGN_OR_RETURN(
      RowLayoutChooser chooser,
      RowLayoutChooser::create(options.exchange, rank.topology, config.num_experts, config.experts_per_token,
                               config.hidden_size, dtype_size(options.exchange_dtype)));
  return std::unique_ptr<Mixtral>(new Mixtral(config, rank, std::move(options), std::move(chooser)));
}

Mixtral::Mixtral(const ModelConfig& config, const ModelRank& rank, MixtralOptions options, RowLayoutChooser chooser)
    : rank_(rank),
      options_(std::move(options)),
      vocab_size_(config.vocab_size),
      stream_(rank.backend.make_stream()),
      decoder_(config, rank, options_, std::move(chooser), timer_),
      logits_(rank, vocab_size_, options_.max_logit_rows),
      chooser_(rank),
      totals_(rank, config.num_layers, config.num_experts) {}

StepResult Mixtral::answer(const StepPlan& plan, TensorView logits) {
  StepResult result{.logits = {nullptr, DType::kF32, {0, vocab_size_}}};
  if (!rank_.leads()) return result;
  const auto begin = std::chrono::steady_clock::now();
  result.samples = chooser_.choose(plan.sampling, logits, *stream_);
  result.sample_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (plan.wants_logits) result.logits = logits_.to_host(logits, *stream_);
  return result;
}

Status Mixtral::begin(const StepPlan& plan) {
  timer_.enter(StepPhase::kRest);
  const DecodedStep decoded = decoder_.run(plan, *stream_);
  begun_.emplace(Begun{plan, decoded, logits_.collect(plan, decoded.logits, *stream_)});
  return ok_status();
}

Result<StepResult> Mixtral::wait() {
  const auto& [plan, step, logits] = begun_.value();
  StepResult result = answer(plan, logits);
  step.choices.download(step.ran, *stream_);
  rank_.comms.world.wait(*stream_);
  totals_.add(step);
  if (plan.wants_experts) {
    const auto choices = totals_.collect_choices(step);
    if (rank_.leads()) result.experts = choices;
  }
  if (plan.wants_totals) {
    const ModelTotals& totals = totals_.collect();
    if (rank_.leads()) result.totals = &totals;
  }
  timer_.stop();
  return result;
}

}  // namespace octet
