#include "runtime/model/mixtral.h"

#include <chrono>
#include <utility>

#include "parallel/expert_placement.h"

namespace octet {

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
  return std::unique_ptr<Mixtral>(
      new Mixtral(checkpoint, {topology, backend, comms}, std::move(options), std::move(chooser)));
}

Mixtral::Mixtral(const Checkpoint& checkpoint, const ModelRank& rank, MixtralOptions options, RowLayoutChooser chooser)
    : rank_(rank),
      options_(std::move(options)),
      vocab_size_(checkpoint.config().vocab_size),
      stream_(rank.backend.make_stream()),
      decoder_(checkpoint, rank, options_, std::move(chooser), timer_),
      logits_(rank, vocab_size_, options_.max_logit_rows),
      chooser_(rank.backend),
      totals_(rank, checkpoint.config().num_layers, checkpoint.config().num_experts) {}

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
  const auto& [plan, decoded, logits] = begun_.value();
  StepResult result = answer(plan, logits);
  decoder_.download_choices(*stream_);
  rank_.comms.world.wait(*stream_);
  totals_.add(decoded.rows, decoded.choices);
  if (plan.wants_experts) {
    const auto choices = totals_.collect_choices(decoded.rows, decoded.choices);
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
