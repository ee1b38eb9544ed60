#include "runtime/engine/engine.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "runtime/base/out_of_memory.h"

namespace octet {
namespace {

bool contains(const std::vector<TokenId>& ids, TokenId id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

RequestBounds bounds_of(const ModelRunner& runner, const EngineOptions& options) {
  return {.vocab_size = runner.vocab_size(),
          .max_context = std::min(runner.max_context(), runner.num_pages() * kPageTokens),
          .max_num_samples = options.max_num_samples,
          .max_logprobs = options.max_logprobs};
}

SchedulerLimits limits_of(const ModelRunner& runner, const EngineOptions& options) {
  return {.num_groups = runner.num_groups(),
          .pages_per_group = runner.num_pages(),
          .rows_per_group = runner.max_rows(),
          .logit_rows_per_group = runner.max_logit_rows(),
          .prefill_chunk = options.prefill_chunk,
          .max_batch = options.max_batch,
          .prefix_cache = options.prefix_cache};
}

double seconds_between(SampleTimes::Clock::time_point from, SampleTimes::Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

// The first sample's sequence before the first step, which takes the request's tokens.
Sequence first_sequence(Request& request, SequenceId id, int64_t output_limit) {
  Sequence sequence{.id = id,
                    .cache_salt = cache_salt_of(request.params.cache_salt),
                    .priority = request.priority,
                    .tokens = {},
                    .wants_next_token = output_limit > 0,
                    .wants_experts = request.routed_experts};
  const size_t prompt_size = request.prompt.size();
  sequence.tokens = std::exchange(request.prompt, {});
  sequence.tokens.reserve(prompt_size + static_cast<size_t>(output_limit));  // decoding allocates nothing
  const std::vector<TokenId> resumed = std::exchange(request.resumed_output, {});
  sequence.tokens.insert(sequence.tokens.end(), resumed.begin(), resumed.end());
  sequence.prompt_logit_positions = request.prompt_logit_positions;
  if (request.all_prompt_logits || request.prompt_logprobs) {
    sequence.prompt_logit_positions.resize(prompt_size);
    std::iota(sequence.prompt_logit_positions.begin(), sequence.prompt_logit_positions.end(), 0);
  }
  // Without output, nothing behind the last wanted position is needed.
  if (output_limit == 0) sequence.tokens.resize(static_cast<size_t>(sequence.prompt_logit_positions.back() + 1));
  return sequence;
}

}  // namespace

Engine::Engine(ModelRunner& runner, const EngineOptions& options, Drafter drafter)
    : runner_(runner),
      bounds_(bounds_of(runner, options)),
      scheduler_(limits_of(runner, options)),
      sampler_(runner.vocab_size()),
      drafter_(std::move(drafter)) {}

Result<RequestId> Engine::submit(Request request, RequestCallbacks callbacks) {
  OCTET_RETURN_IF_ERROR(validate_request(request, bounds_));
  const RequestId id = next_id_++;
  const auto [it, inserted] = active_.emplace(id, activate(std::move(request), std::move(callbacks), id));
  try {
    scheduler_.add(it->second.samples.front().sequence);
  } catch (const std::bad_alloc&) {
    active_.erase(it);
    throw;
  }
  return id;
}

Engine::ActiveRequest Engine::activate(Request request, RequestCallbacks callbacks, RequestId id) const {
  ActiveRequest active{.request = std::move(request), .callbacks = std::move(callbacks)};
  const GenerationParams& params = active.request.params;
  active.num_prompt_tokens = std::ssize(active.request.prompt);
  active.output_limit = output_limit(active.request, bounds_.max_context);
  active.end_ids = params.stop_token_ids;
  if (!params.ignore_eos) {
    active.end_ids.insert(active.end_ids.end(), active.request.eos_ids.begin(), active.request.eos_ids.end());
  }
  active.samples.resize(static_cast<size_t>(params.num_samples));
  const CacheSalt salt = cache_salt_of(params.cache_salt);
  for (size_t i = 0; i < active.samples.size(); ++i) {
    active.samples[i].sequence.id = {id, static_cast<int32_t>(i)};
    active.samples[i].sequence.cache_salt = salt;
    active.samples[i].sequence.priority = active.request.priority;
    active.samples[i].sequence.wants_experts = active.request.routed_experts;
  }
  active.samples.front().sequence = first_sequence(active.request, {id, 0}, active.output_limit);
  active.forked = active.samples.size() == 1;
  return active;
}

void Engine::cancel(RequestId id, FinishReason reason) {
  OCTET_CHECK(reason == FinishReason::kCancelled || reason == FinishReason::kTimeLimit);
  const auto it = active_.find(id);
  if (it != active_.end() && !it->second.cancelled()) it->second.cancel_reason = reason;
}

Result<bool> Engine::step() {
  const Clock::time_point start = Clock::now();
  last_step_ = {};
  ScheduledStep& step = schedule();
  if (step.empty()) return false;
  last_step_.seconds.schedule = seconds_between(start, Clock::now());
  bool has_memory = true;
  const auto result = [&]() -> Result<StepResult> {
    try {
      return compute(step);
    } catch (const std::bad_alloc& error) {
      has_memory = false;
      return out_of_memory(error);
    }
  }();
  const Clock::time_point computed = Clock::now();
  if (!result.ok()) {
    fail_everything(result.status());
    if (has_memory) return result.status();
    return !active_.empty();
  }
  scheduler_.commit();
  ++totals_.num_steps;
  totals_.num_rows += last_step_.num_rows;
  last_step_.totals = result->totals;
  deliver_all(step, *result);
  last_step_.seconds.deliver = seconds_between(computed, Clock::now());
  totals_.seconds += last_step_.seconds;
  return !active_.empty();
}

// Runs the model. What is to become of the logits is prepared while it computes them, where it has a device that does.
Result<StepResult> Engine::compute(ScheduledStep& step) {
  const Clock::time_point start = Clock::now();
  OCTET_RETURN_IF_ERROR(runner_.begin(step.plan));
  const Clock::time_point begun = Clock::now();
  try {
    plan_answers(step);
  } catch (const std::bad_alloc&) {
    step.plan.sampling.clear();  // may be half of it
    static_cast<void>(runner_.wait());
    throw;
  }
  const Clock::time_point planned = Clock::now();
  Result<StepResult> result = runner_.wait();
  const double waited = seconds_between(planned, Clock::now());
  last_step_.seconds.schedule += seconds_between(begun, planned);
  last_step_.seconds.sample = result.ok() ? result->sample_seconds : 0;
  last_step_.seconds.model = seconds_between(start, begun) + waited - last_step_.seconds.sample;
  return result;
}

ScheduledStep& Engine::schedule() {
  for (auto& [id, active] : active_) {
    if (active.cancelled()) finish_all(active, active.cancel_reason);
  }
  drop_finished();
  if (drafter_) draft();
  ScheduledStep& step = scheduler_.next();
  const Clock::time_point now = Clock::now();
  for (const PlannedRows& rows : step.rows) {
    ActiveRequest& active = active_.at(rows.sequence->id.request);
    if (!active.first_scheduled) active.first_scheduled = now;
    last_step_.num_rows += rows.num_rows;
  }
  last_step_.num_sequences = std::ssize(step.rows);
  return step;
}

// Guesses for the sequences that wait for one token alone. The last token that a request may have needs no row, and so
// is not guessed.
void Engine::draft() {
  for (auto& [id, active] : active_) {
    if (!active.forked) continue;
    for (Sample& sample : active.samples) {
      Sequence& sequence = sample.sequence;
      if (sample.finished || !sequence.running() || sequence.num_pending() != 1) continue;
      const int64_t most = active.output_limit - num_output(active, sequence) - 1;
      if (most <= 0) continue;
      guesses_.clear();
      drafter_(sequence, most, guesses_);
      OCTET_CHECK(std::ssize(guesses_) <= most, "{} guesses of {}", guesses_.size(), most);
      sequence.tokens.insert(sequence.tokens.end(), guesses_.begin(), guesses_.end());
      sequence.num_guesses = std::ssize(guesses_);
    }
  }
}

void Engine::plan_answers(ScheduledStep& step) {
  questions_.clear();
  for (const PlannedLogits& row : step.logits) questions_.push_back(plan_row(row, std::ssize(questions_), step.plan));
}

Engine::RowQuestions Engine::plan_row(const PlannedLogits& row, int64_t index, StepPlan& plan) {
  RowQuestions questions;
  const Sequence& sequence = *row.sequence;
  const ActiveRequest& active = active_.at(sequence.id.request);
  if (sequence.wants_prompt_logits(row.position)) {
    if (active.callbacks.on_prompt_logits) plan.wants_logits = true;
    if (active.scores_prompt_token(row.position + 1)) {
      const TokenId token = sequence.tokens[static_cast<size_t>(row.position + 1)];
      questions.score = Sampler::score(index, token, *active.request.prompt_logprobs, plan.sampling);
    }
  }
  if (!sequence.wants_next_token || row.position + 1 < sequence.num_tokens()) return questions;
  const auto before = std::span(sequence.tokens).first(static_cast<size_t>(row.position + 1));
  if (!active.forked) {
    questions.forks = plan.sampling.size();
    for (size_t i = 1; i < active.samples.size(); ++i) plan_token(active, before, i, index, plan.sampling);
  }
  questions.token = plan_token(active, before, static_cast<size_t>(sequence.id.sample), index, plan.sampling);
  return questions;
}

// `before`: what the sample's sequence has before the token, guesses included.
int64_t Engine::plan_token(const ActiveRequest& active, std::span<const TokenId> before, size_t sample, int64_t row,
                           SamplingBatch& batch) {
  const GenerationParams& params = active.request.params;
  const int64_t prompt_size = active.num_prompt_tokens;
  const bool may_end = std::ssize(before) - prompt_size >= params.min_tokens;
  return sampler_.choose({.row = row,
                          .params = params.sampling,
                          .tokens = before,
                          .prompt_size = prompt_size,
                          .sample_index = active.request.first_sample_index + static_cast<int64_t>(sample),
                          .banned = may_end ? std::span<const TokenId>() : std::span<const TokenId>(active.end_ids),
                          .num_top = params.logprobs},
                         batch);
}

void Engine::deliver_all(const ScheduledStep& step, const StepResult& result) {
  const size_t num_rows = step.logits.size();
  const auto vocab_size = static_cast<size_t>(bounds_.vocab_size);
  const size_t num_experts = num_rows == 0 ? 0 : result.experts.size() / num_rows;
  for (size_t row = 0; row < num_rows; ++row) {
    const auto logits = step.plan.wants_logits
                            ? std::span<const float>(result.logits.as<float>() + row * vocab_size, vocab_size)
                            : std::span<const float>();
    deliver(step.logits[row], {.logits = logits,
                               .experts = result.experts.subspan(row * num_experts, num_experts),
                               .questions = questions_[row],
                               .choices = {step.plan.sampling, result.samples}});
  }
  drop_finished();
}

Status Engine::run_until_idle() {
  for (bool work_is_left = true; work_is_left;) {
    OCTET_ASSIGN_OR_RETURN(work_is_left, step());
  }
  return ok_status();
}

EngineStats Engine::stats() const {
  EngineStats stats = totals_;
  stats.num_running = scheduler_.num_running();
  stats.num_waiting = scheduler_.num_waiting();
  stats.num_preemptions = scheduler_.num_preemptions();
  stats.prefix_cache_queries = scheduler_.num_queried_tokens();
  stats.prefix_cache_hits = scheduler_.num_hit_tokens();
  for (int64_t group = 0; group < runner_.num_groups(); ++group) {
    stats.num_pages += scheduler_.pages(group).num_pages();
    stats.num_pages_used += scheduler_.pages(group).num_pages() - scheduler_.pages(group).num_free();
    stats.num_pages_idle += scheduler_.pages(group).num_idle();
    stats.prefix_cache_evictions += scheduler_.pages(group).num_evictions();
  }
  return stats;
}

void Engine::deliver(const PlannedLogits& planned, const RowResult& row) {
  Sequence& sequence = *planned.sequence;
  ActiveRequest& active = active_.at(sequence.id.request);
  Sample& sample = active.samples[static_cast<size_t>(sequence.id.sample)];
  if (active.cancelled() || sample.finished) return;
  if (sequence.wants_prompt_logits(planned.position)) deliver_prompt_logits(active, sequence, planned.position, row);
  if (active.cancelled() || !sequence.names_next_token(planned.position)) return;
  if (!sample.last_token && sequence.id.sample == 0) totals_.num_prompt_tokens += active.num_prompt_tokens;
  if (!sequence.wants_next_token) return finish_all(active, FinishReason::kLength);
  if (!active.forked) fork_samples(active, row);
  append_token(active, sample, row, row.questions.token);
}

void Engine::deliver_prompt_logits(ActiveRequest& active, Sequence& sequence, int64_t position, const RowResult& row) {
  ++sequence.num_prompt_logits_taken;
  if (active.callbacks.on_prompt_logits) active.callbacks.on_prompt_logits(position, row.logits);
  const int64_t next = position + 1;
  if (!active.scores_prompt_token(next)) return;
  const TokenId token = sequence.tokens[static_cast<size_t>(next)];
  read_logprobs(row.choices[row.questions.score], logprobs_);
  const auto experts = active.request.routed_experts ? row.experts : std::span<const int32_t>();
  active.callbacks.on_prompt_logprobs({.position = next, .token_id = token, .logprobs = logprobs_, .experts = experts});
}

void Engine::fork_samples(ActiveRequest& active, const RowResult& row) {
  active.forked = true;
  const Sequence& first = active.samples.front().sequence;
  for (size_t i = 1; i < active.samples.size(); ++i) {
    Sample& sample = active.samples[i];
    sample.sequence.tokens.reserve(first.tokens.capacity());
    sample.sequence.tokens = first.tokens;
    append_token(active, sample, row, row.questions.forks + static_cast<int64_t>(i) - 1);
    if (!sample.finished && !active.cancelled()) scheduler_.fork(first, sample.sequence);
  }
}

void Engine::count_token(Sample& sample) {
  sample.last_token = Clock::now();
  if (!sample.first_token) sample.first_token = sample.last_token;
  ++totals_.num_output_tokens;
  ++last_step_.num_tokens;
}

void Engine::append_token(ActiveRequest& active, Sample& sample, const RowResult& row, int64_t choice_index) {
  if (active.cancelled()) return;
  Sequence& sequence = sample.sequence;
  const Choice choice = row.choices[choice_index];
  const Result<TokenId> token = chosen_token(choice);
  if (!token.ok()) return finish(active, sample, FinishReason::kError, token.status());
  TokenEvent event{.id = sequence.id, .output_index = num_output(active, sequence), .token_id = *token};
  if (active.request.params.logprobs) {
    read_logprobs(choice, logprobs_);
    event.logprobs = &logprobs_;
  }
  if (active.request.routed_experts) event.experts = row.experts;
  const bool was_guessed = sequence.guesses(*token);
  if (was_guessed) {
    --sequence.num_guesses;
  } else {
    scheduler_.drop_guesses(sequence);
    sequence.tokens.push_back(*token);
  }
  count_token(sample);
  event.finish = finish_reason(active, sequence, *token);
  const bool stops = active.callbacks.on_token && active.callbacks.on_token(event);
  if (active.cancelled()) return;
  if (stops && event.finish != FinishReason::kEos) event.finish = FinishReason::kStop;
  if (event.finish != FinishReason::kNone) return finish(active, sample, event.finish);
  if (was_guessed) scheduler_.keep_guess(sequence);
}

// Why the output ends with `last`, the sequence's last token.
FinishReason Engine::finish_reason(const ActiveRequest& active, const Sequence& sequence, TokenId last) {
  const GenerationParams& params = active.request.params;
  if (!params.ignore_eos && contains(active.request.eos_ids, last)) return FinishReason::kEos;
  if (contains(params.stop_token_ids, last)) return FinishReason::kStop;
  return num_output(active, sequence) == active.output_limit ? FinishReason::kLength : FinishReason::kNone;
}

void Engine::finish(ActiveRequest& active, Sample& sample, FinishReason reason, Status status) {
  sample.finished = true;
  scheduler_.remove(sample.sequence);
  if (!active.callbacks.on_finish) return;
  const int64_t num_prompt_tokens = active.num_prompt_tokens;
  active.callbacks.on_finish(
      {.id = sample.sequence.id,
       .reason = reason,
       .status = std::move(status),
       .num_prompt_tokens = num_prompt_tokens,
       .num_output_tokens = std::max<int64_t>(0, num_output(active, sample.sequence)),
       .num_cached_tokens = active.samples.front().sequence.num_cached,
       .num_preemptions = sample.sequence.num_preemptions,
       .times = {active.submitted, active.first_scheduled, sample.first_token, sample.last_token}});
}

void Engine::finish_all(ActiveRequest& active, FinishReason reason, const Status& status) {
  for (Sample& sample : active.samples) {
    if (!sample.finished) finish(active, sample, reason, status);
  }
}

void Engine::fail_everything(const Status& status) {
  const RequestId end = next_id_;  // what callbacks submit meanwhile has not failed
  for (auto it = active_.begin(); it != active_.end() && it->first < end; ++it) {
    finish_all(it->second, FinishReason::kError, status);
  }
  drop_finished();
}

void Engine::drop_finished() {
  std::erase_if(active_, [](const auto& entry) {
    const auto& samples = entry.second.samples;
    return std::all_of(samples.begin(), samples.end(), [](const Sample& sample) { return sample.finished; });
  });
}

}  // namespace octet
