// Scheduler: decides step by step which tokens of which sequences are computed (iteration-level batching: Yu et al.,
// "Orca", OSDI 2022; chunked prefill: Agrawal et al., "Sarathi-Serve", OSDI 2024; paged memory and preemption by
// recomputation: Kwon et al., "PagedAttention", SOSP 2023). Pure host code: it sees tokens and pages, never a device.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "runtime/engine/page_allocator.h"
#include "runtime/engine/sequence.h"
#include "runtime/model/step_plan.h"

namespace octet {

// All at least 1.
struct SchedulerLimits {
  int64_t num_groups = 1;            // dp
  int64_t pages_per_group = 1;       // KV pages
  int64_t rows_per_group = 1;        // rows of a step in one group
  int64_t logit_rows_per_group = 1;  // rows of a step in one group whose logits are computed
  int64_t prefill_chunk = 1;  // rows of a step in one group that go to sequences with more than one pending token
  int64_t max_batch = 1;      // running sequences of all groups together
  bool prefix_cache = true;   // keep full pages for sequences that begin alike
};

// Rows of one sequence in a step: its next num_rows pending tokens, then its guesses.
struct PlannedRows {
  Sequence* sequence = nullptr;
  int64_t num_rows = 0;
};

// One row of the step's logits.
struct PlannedLogits {
  Sequence* sequence = nullptr;
  int64_t position = 0;  // of the row in its sequence
};

// Steps of head start that a level of priority is worth.
inline constexpr int64_t kPriorityHeadStart = 256;

struct ScheduledStep {
  StepPlan plan;
  std::vector<PlannedRows> rows;
  std::vector<PlannedLogits> logits;  // in the order of StepResult::logits

  bool empty() const { return rows.empty(); }
};

// A sequence waits (holds nothing), runs (holds pages for all its tokens) or is unknown to the scheduler. Sequences are
// served in turn: by the step of their arrival, less kPriorityHeadStart steps for each level of priority, and by age
// among equals. So a larger priority goes first, and yet nobody starves: whoever has waited long enough is ahead of all
// newcomers. Waiting sequences are admitted in turn; who finds no room takes that of running sequences that are
// later in turn and of smaller priority. When a running sequence needs a page and none is free, the last in turn of its
// group goes back to waiting and its tokens are recomputed later. So the first in turn always advances, and every
// sequence finishes.
//
// In a step every running sequence with one pending token gets its row, so that no prompt makes a stream stutter. The
// prefill chunk goes to the others: one half to those with the fewest pending tokens, whose priority is not below that
// of the first in turn; the other half, and what is left of the first, in turn. So a short prompt need not wait for a
// long one, and the long one keeps at least half of its speed.
//
// A sequence that runs and has one pending token may have guesses of what follows, too, which are computed in the same
// step as far as rows, rows of logits and free pages are left: a guess takes nothing from anyone, nor from the cache.
// Guesses that do not turn out to be the sequence's next tokens go before the next step; what the step left of them in
// the pages is overwritten before it is read.
//
// Full pages are cached by their tokens once these are final: a sequence that starts, or whose prompt is being
// computed, goes on from what others have computed of it. REQUIRES: a sequence never has more tokens than one group's
// pages hold. Sequences are owned by the caller and outlive their stay here. Not thread-safe.
class Scheduler {
 public:
  explicit Scheduler(const SchedulerLimits& limits);

  // The sequence waits for its turn, which follows from its priority and now.
  void add(Sequence& sequence);
  // `child` begins with all of `parent`'s computed tokens. Its turn is the parent's. It runs at once, sharing the
  // parent's full pages, if there is room, and waits otherwise. REQUIRES: parent runs and has no pending token; child
  // has at least one more.
  void fork(const Sequence& parent, Sequence& child);
  // Forgets a sequence in any state and frees its pages.
  void remove(Sequence& sequence);

  // Plans the next step; empty only if there is no sequence. What becomes of the logits is left to the caller. Valid
  // until the next call. The runner has computed the step, and commit() was called, before the next one is planned.
  // Tokens may be appended to sequences in between.
  ScheduledStep& next();
  // The step's tokens are in the pages; its guesses, too, but they count only when they are kept.
  void commit();
  // What was the sequence's first guess has become its last final token, and is in the pages.
  void keep_guess(Sequence& sequence);
  // All guesses that the sequence still has are wrong.
  void drop_guesses(Sequence& sequence);

  int64_t num_running() const { return std::ssize(running_); }
  int64_t num_waiting() const { return std::ssize(waiting_); }
  int64_t num_preemptions() const { return num_preemptions_; }
  // Tokens of sequences that started, or started again after a preemption, and those of them found in cached pages.
  int64_t num_queried_tokens() const { return num_queried_tokens_; }
  int64_t num_hit_tokens() const { return num_hit_tokens_; }
  const PageAllocator& pages(int64_t group) const { return pages_[static_cast<size_t>(group)]; }
  // Aborts unless every page is accounted for, running sequences hold those of their computed tokens, and waiting ones
  // hold none. Walks over everything.
  void check_invariant() const;

 private:
  struct InTurn {
    bool operator()(const Sequence* a, const Sequence* b) const {
      return a->turn != b->turn ? a->turn < b->turn : a->id < b->id;
    }
  };
  using Queue = std::set<Sequence*, InTurn>;
  // What one group's plan may still take.
  struct Room {
    int64_t rows;
    int64_t logit_rows;
  };
  // A sequence with several pending tokens, and how many of them the step may compute.
  struct Prompt {
    Sequence* sequence;
    int64_t num_rows;

    int64_t num_left() const { return sequence->num_pending() - num_rows; }
  };

  PageAllocator& allocator(int64_t group) { return pages_[static_cast<size_t>(group)]; }
  int64_t& num_running_in(int64_t group) { return num_running_in_group_[static_cast<size_t>(group)]; }

  void clear_step();
  void make_room_for_running();
  void admit_waiting();
  bool has_room(int64_t group, int64_t num_new_pages);
  int64_t best_group(const Sequence& sequence);
  void sum_loads();
  void start(Sequence& sequence);
  void use_cached(Sequence& sequence);
  void preempt_last(int64_t group);
  void leave_group(Sequence& sequence);
  bool preempt_smaller(const Sequence& newcomer);
  void preempt(Sequence& sequence);
  void plan_group(int64_t group);
  void share_chunk(int64_t num_rows);
  static int64_t take_chunk(const Sequence& sequence, int64_t most, Room& room);
  void fit_guesses(Sequence& sequence, Room& room);
  void plan_rows(Sequence& sequence, int64_t num_rows);
  void count_computed(Sequence& sequence, int64_t num_rows);

  SchedulerLimits limits_;
  std::vector<PageAllocator> pages_;           // [num_groups]
  std::vector<int64_t> num_running_in_group_;  // [num_groups]
  std::vector<int64_t> loads_;                 // [num_groups], see sum_loads
  Queue waiting_;
  Queue running_;
  ScheduledStep step_;
  std::vector<Sequence*> decoding_;  // of the group that is being planned: those with one pending token
  std::vector<Prompt> prompts_;      // and the others
  uint64_t num_steps_ = 0;           // committed
  int64_t num_preemptions_ = 0;
  int64_t num_queried_tokens_ = 0;
  int64_t num_hit_tokens_ = 0;
};

}  // namespace octet
