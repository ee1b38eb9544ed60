// Engine: serves requests with one model. It batches them step by step, samples their tokens and tells their clients.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/engine/request.h"
#include "runtime/engine/scheduler.h"
#include "runtime/engine/step_seconds.h"
#include "runtime/model/model_runner.h"
#include "runtime/model/sampler.h"

namespace octet {

struct EngineOptions {
  int64_t prefill_chunk =
      512;                 // prompt tokens of a step in one dp group: more is faster, less delays running streams less
  int64_t max_batch = 64;  // sequences that run at the same time
  int64_t max_num_samples = 64;  // of one request
  int64_t max_logprobs = 20;     // most probable tokens listed with each token
  bool prefix_cache = true;      // start sequences that begin alike from what is computed already
};

// What the engine is doing and has done.
struct EngineStats {
  int64_t num_running = 0;  // sequences
  int64_t num_waiting = 0;
  int64_t num_pages_used = 0;  // of all groups, held by sequences
  int64_t num_pages_idle = 0;  // held by none, but cached
  int64_t num_pages = 0;
  int64_t num_preemptions = 0;
  int64_t num_steps = 0;
  int64_t num_rows = 0;                // token rows computed, recomputed ones included
  int64_t num_prompt_tokens = 0;       // of prompts that were read to their end, cached ones included
  int64_t num_output_tokens = 0;       // delivered
  int64_t prefix_cache_queries = 0;    // tokens of sequences that started, or started again after a preemption
  int64_t prefix_cache_hits = 0;       // tokens among them that the cache held, so that they were not computed
  int64_t prefix_cache_evictions = 0;  // pages
  StepSeconds seconds = {};            // of all steps
};

// What one step did, and where its time went.
struct StepFacts {
  int64_t num_rows = 0;                 // token rows computed; 0: there was nothing to do
  int64_t num_sequences = 0;            // that they belong to
  int64_t num_tokens = 0;               // delivered
  StepSeconds seconds = {};             // all but `service`
  const ModelTotals* totals = nullptr;  // in the steps that collect them; valid until the next step
};

// Guesses ahead: appends at most `most` tokens to `guesses`, each less than the vocabulary, that may follow `sequence`,
// which waits for its next token. The step computes as many of them as there is room for. Those that turn out to be
// what the request would have been given anyway need no steps of their own; wrong ones change nothing.
using Drafter = std::function<void(const Sequence& sequence, int64_t most, std::vector<TokenId>& guesses)>;

// A request's samples begin as one sequence: the prompt is computed once, each sample's first token comes from its last
// logits, and then every sample goes its own way, sharing the prompt's full pages where they fit. Outputs depend on the
// request alone, not on what else is served: the runner's logits do not depend on the batch, and neither does sampling.
// Not thread-safe: all calls from one thread. The runner outlives the engine.
class Engine {
 public:
  // Without a drafter nothing is guessed: a step brings each sequence one token.
  explicit Engine(ModelRunner& runner, const EngineOptions& options = {}, Drafter drafter = {});

  // Queues a request. kInvalidInput naming the field that is wrong, its value and its bound; then no callback comes.
  Result<RequestId> submit(Request request, RequestCallbacks callbacks);
  // Ends a request: no more tokens; its samples finish for `reason`, kCancelled or kTimeLimit, and their pages are
  // free, in the next step. Nothing if the request is unknown (say, already finished) or ends already.
  void cancel(RequestId id, FinishReason reason = FinishReason::kCancelled);
  // Computes one step and delivers what it brought; whether work is left. If the runner fails, every request finishes
  // as kError and its status is returned. If it has no memory for the step (std::bad_alloc), every request finishes so,
  // too, and the engine is as good as before.
  Result<bool> step();
  // Steps until no work is left or the runner fails.
  Status run_until_idle();

  // Tokens that a sequence may have: the model's context, or less if the KV pages hold less.
  int64_t max_context() const { return bounds_.max_context; }
  EngineStats stats() const;
  // Aborts if a page is lost, or held by nobody or twice; for tests.
  void check_invariant() const { scheduler_.check_invariant(); }
  // Of the last step(), failed ones included.
  const StepFacts& last_step() const { return last_step_; }

 private:
  using Clock = SampleTimes::Clock;

  struct Sample {
    Sequence sequence;
    bool finished = false;
    std::optional<Clock::time_point> first_token = {};
    std::optional<Clock::time_point> last_token = {};
  };
  struct ActiveRequest {
    Request request;  // without its tokens: the samples' sequences have them
    RequestCallbacks callbacks;
    int64_t num_prompt_tokens = 0;
    int64_t output_limit = 0;
    std::vector<TokenId> end_ids = {};  // EOS and stop tokens, which min_tokens bans
    std::vector<Sample> samples = {};   // all of them; only the first one is scheduled until the prompt is computed
    bool forked = false;
    FinishReason cancel_reason = FinishReason::kNone;
    Clock::time_point submitted = Clock::now();
    std::optional<Clock::time_point> first_scheduled = {};

    // Whether it ends in the next step.
    bool cancelled() const { return cancel_reason != FinishReason::kNone; }
    // Whether the log-probabilities of the prompt's token at `position` are wanted.
    bool scores_prompt_token(int64_t position) const {
      return request.prompt_logprobs && callbacks.on_prompt_logprobs && position < num_prompt_tokens;
    }
  };
  // Where the answers to what is asked of a row stand among the plan's choices; -1: it is not asked.
  struct RowQuestions {
    int64_t score = -1;  // log-probabilities of the prompt's next token
    int64_t forks = -1;  // tokens of a request's samples 1, 2, …, which go their own way from here: the first one's
    int64_t token = -1;  // of the row's own sample
  };
  // What the model says of one row whose logits were wanted.
  struct RowResult {
    std::span<const float> logits;     // [vocab]; empty where the plan wants none
    std::span<const int32_t> experts;  // [num_layers, top_k]; empty where no sequence of the step wants them
    RowQuestions questions;            // asked of it
    Choices choices;                   // of the whole step
  };

  ActiveRequest activate(Request request, RequestCallbacks callbacks, RequestId id) const;
  ScheduledStep& schedule();
  void draft();
  Result<StepResult> compute(ScheduledStep& step);
  // Adds to the plan, whose step has begun, what is to be done with the logits.
  void plan_answers(ScheduledStep& step);
  RowQuestions plan_row(const PlannedLogits& row, int64_t index, StepPlan& plan);
  // Returns the index of the choice.
  int64_t plan_token(const ActiveRequest& active, std::span<const TokenId> before, size_t sample, int64_t row,
                     SamplingBatch& batch);
  void deliver_all(const ScheduledStep& step, const StepResult& result);
  void deliver(const PlannedLogits& planned, const RowResult& row);
  void deliver_prompt_logits(ActiveRequest& active, Sequence& sequence, int64_t position, const RowResult& row);
  void fork_samples(ActiveRequest& active, const RowResult& row);
  void count_token(Sample& sample);
  void append_token(ActiveRequest& active, Sample& sample, const RowResult& row, int64_t choice_index);
  static int64_t num_output(const ActiveRequest& active, const Sequence& sequence) {
    return sequence.num_tokens() - active.num_prompt_tokens;
  }
  static FinishReason finish_reason(const ActiveRequest& active, const Sequence& sequence, TokenId last);
  void finish(ActiveRequest& active, Sample& sample, FinishReason reason, Status status = {});
  void finish_all(ActiveRequest& active, FinishReason reason, const Status& status = {});
  void fail_everything(const Status& status);
  void drop_finished();

  ModelRunner& runner_;
  RequestBounds bounds_;
  Scheduler scheduler_;
  Sampler sampler_;
  Drafter drafter_;
  std::vector<TokenId> guesses_;         // of the sequence that is asked about
  std::vector<RowQuestions> questions_;  // of each row of the step's logits
  Logprobs logprobs_;                    // of the token being delivered
  std::map<RequestId, ActiveRequest> active_;
  RequestId next_id_ = 1;
  EngineStats totals_;  // those members that only grow
  StepFacts last_step_;
};

}  // namespace octet
