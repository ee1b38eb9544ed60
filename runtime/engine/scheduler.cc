#include "runtime/engine/scheduler.h"

#include <algorithm>

#include "runtime/base/check.h"

namespace octet {
namespace {

// What a running sequence adds to its group's load beside its pending tokens: its output is still to come.
constexpr int64_t kRunningLoad = kPageTokens;

// Every so many steps the ranks tell rank 0 their totals: often enough for metrics, too rarely to cost anything.
constexpr uint64_t kTotalsInterval = 16;

}  // namespace

Scheduler::Scheduler(const SchedulerLimits& limits)
    : limits_(limits),
      pages_(static_cast<size_t>(limits.num_groups), PageAllocator(limits.pages_per_group, limits.prefix_cache)),
      num_running_in_group_(static_cast<size_t>(limits.num_groups)),
      loads_(static_cast<size_t>(limits.num_groups)) {
  OCTET_CHECK(std::min({limits.num_groups, limits.pages_per_group, limits.rows_per_group, limits.logit_rows_per_group,
                        limits.prefill_chunk, limits.max_batch}) >= 1);
}

void Scheduler::add(Sequence& sequence) {
  sequence.turn = static_cast<int64_t>(num_steps_) - sequence.priority * kPriorityHeadStart;
  waiting_.insert(&sequence);
}

void Scheduler::fork(const Sequence& parent, Sequence& child) {
  OCTET_CHECK(parent.running() && parent.num_pending() == 0 && child.num_tokens() > parent.num_tokens());
  const int64_t num_shared = parent.num_computed / kPageTokens;
  const int64_t num_new = pages_for(child.num_tokens()) - num_shared;
  child.turn = parent.turn;
  if (num_running() >= limits_.max_batch || !has_room(parent.group, num_new)) {
    waiting_.insert(&child);
    return;
  }
  allocator(parent.group).share(parent.id, child.id, num_shared);
  child.group = parent.group;
  child.num_computed = num_shared * kPageTokens;
  start(child);
}

void Scheduler::remove(Sequence& sequence) {
  waiting_.erase(&sequence);
  if (sequence.running()) leave_group(sequence);
}

ScheduledStep& Scheduler::next() {
  make_room_for_running();
  admit_waiting();
  clear_step();
  for (int64_t group = 0; group < limits_.num_groups; ++group) plan_group(group);
  OCTET_CHECK(!step_.empty() || (waiting_.empty() && running_.empty()), "{} sequences wait for ever", num_waiting());
  return step_;
}

// The memory stays, so that a steady state allocates nothing.
void Scheduler::clear_step() {
  step_.rows.clear();
  step_.logits.clear();
  step_.plan.step = num_steps_;
  step_.plan.wants_totals = num_steps_ % kTotalsInterval == 0;
  step_.plan.wants_experts = false;
  step_.plan.wants_logits = false;
  step_.plan.sampling.clear();
  step_.plan.groups.resize(static_cast<size_t>(limits_.num_groups));
  for (GroupPlan& group : step_.plan.groups) {
    group.token_ids.clear();
    group.sequences.clear();
    group.logit_rows.clear();  // page_tables are written over
  }
}

void Scheduler::commit() {
  ++num_steps_;
  for (const PlannedRows& rows : step_.rows) count_computed(*rows.sequence, rows.num_rows - rows.sequence->num_guesses);
}

void Scheduler::keep_guess(Sequence& sequence) {
  OCTET_CHECK(sequence.running() && sequence.num_pending() == 1);
  count_computed(sequence, 1);
}

void Scheduler::drop_guesses(Sequence& sequence) {
  if (sequence.num_guesses == 0) return;
  sequence.leave_guesses(0);
  allocator(sequence.group).trim(sequence.id, sequence.num_tokens());
}

void Scheduler::count_computed(Sequence& sequence, int64_t num_rows) {
  const int64_t num_known = sequence.num_computed / kPageTokens;
  sequence.num_computed += num_rows;
  const auto computed = std::span(sequence.tokens).first(static_cast<size_t>(sequence.num_computed));
  allocator(sequence.group).cache(sequence.id, computed, num_known, sequence.cache_salt);
}

void Scheduler::check_invariant() const {
  for (const PageAllocator& pages : pages_) pages.check_invariant();
  std::vector<int64_t> num_running(pages_.size());
  for (const Sequence* sequence : running_) {
    OCTET_CHECK(std::ssize(pages(sequence->group).pages(sequence->id)) >= pages_for(sequence->num_computed),
                "request {} lacks pages of its {} computed tokens", sequence->id.request, sequence->num_computed);
    ++num_running[static_cast<size_t>(sequence->group)];
  }
  OCTET_CHECK(num_running == num_running_in_group_, "running sequences are miscounted");
  for (const Sequence* sequence : waiting_) {
    const bool holds_pages =
        std::ranges::any_of(pages_, [&](const PageAllocator& pages) { return !pages.pages(sequence->id).empty(); });
    OCTET_CHECK(!holds_pages && !sequence->running() && sequence->num_computed == 0,
                "request {} waits and holds something", sequence->id.request);
  }
}

void Scheduler::make_room_for_running() {
  for (auto it = running_.begin(); it != running_.end();) {
    Sequence* sequence = *it;
    while (sequence->running() && !allocator(sequence->group).extend(sequence->id, sequence->num_tokens())) {
      preempt_last(sequence->group);
    }
    it = running_.upper_bound(sequence);  // of those that still run
  }
}

void Scheduler::admit_waiting() {
  while (!waiting_.empty()) {
    Sequence& first = **waiting_.begin();
    const int64_t group = num_running() < limits_.max_batch ? best_group(first) : -1;
    if (group < 0) {
      if (preempt_smaller(first)) continue;
      return;
    }
    waiting_.erase(waiting_.begin());
    if (limits_.prefix_cache) num_queried_tokens_ += first.num_tokens();
    first.group = group;
    use_cached(first);
    start(first);
  }
}

// A newcomer leaves one page to each sequence that runs, lest it be preempted as soon as these grow. Every running
// sequence of a group can have a row and its logits in one step.
bool Scheduler::has_room(int64_t group, int64_t num_new_pages) {
  const int64_t num_others = num_running_in(group);
  return num_others < std::min(limits_.rows_per_group, limits_.logit_rows_per_group) &&
         num_new_pages + num_others <= allocator(group).num_free();
}

// The group with room that would have computed the sequence and everything before it soonest; of equals the one with
// the most free pages, then the lowest. -1 if there is none.
int64_t Scheduler::best_group(const Sequence& sequence) {
  sum_loads();
  int64_t best = -1;
  int64_t best_load = 0;
  for (int64_t group = 0; group < limits_.num_groups; ++group) {
    const PrefixHit hit = allocator(group).find_prefix(sequence.tokens_before_logits(), sequence.cache_salt);
    if (!has_room(group, pages_for(sequence.num_tokens()) - hit.num_pages + hit.num_idle)) continue;
    const int64_t load = loads_[static_cast<size_t>(group)] - hit.num_pages * kPageTokens;
    if (best < 0 || load < best_load ||
        (load == best_load && allocator(group).num_free() > allocator(best).num_free())) {
      best = group;
      best_load = load;
    }
  }
  return best;
}

void Scheduler::sum_loads() {
  std::fill(loads_.begin(), loads_.end(), 0);
  for (const Sequence* sequence : running_) {
    loads_[static_cast<size_t>(sequence->group)] += kRunningLoad + sequence->num_pending();
  }
}

// REQUIRES: the sequence has its group, which has room for the pages that it lacks.
void Scheduler::start(Sequence& sequence) {
  PageAllocator& pages = allocator(sequence.group);
  const bool extended = pages.extend(sequence.id, sequence.num_tokens());
  OCTET_CHECK(extended, "group {} has {} free pages", sequence.group, pages.num_free());
  ++num_running_in(sequence.group);
  running_.insert(&sequence);
}

// REQUIRES: the sequence has its group, and the pages of what is computed.
void Scheduler::use_cached(Sequence& sequence) {
  const int64_t num_full = sequence.num_computed / kPageTokens;
  const int64_t num_cached =
      allocator(sequence.group).use_cached(sequence.id, sequence.tokens_before_logits(), num_full, sequence.cache_salt);
  if (num_cached == num_full) return;
  const int64_t num_tokens = num_cached * kPageTokens - sequence.num_computed;
  sequence.num_computed += num_tokens;
  num_hit_tokens_ += num_tokens;
  if (sequence.num_preemptions == 0) sequence.num_cached += num_tokens;
}

void Scheduler::preempt_last(int64_t group) {
  OCTET_CHECK(num_running_in(group) > 1, "a sequence has outgrown the {} pages of group {}", limits_.pages_per_group,
              group);
  const auto last =
      std::find_if(running_.rbegin(), running_.rend(), [group](const Sequence* s) { return s->group == group; });
  preempt(**last);
}

// Takes the last in turn back to waiting if its priority is below the newcomer's and its turn is later; whether it did.
bool Scheduler::preempt_smaller(const Sequence& newcomer) {
  if (running_.empty()) return false;
  Sequence& last = **running_.rbegin();
  if (last.priority >= newcomer.priority || InTurn()(&last, &newcomer)) return false;
  preempt(last);
  return true;
}

void Scheduler::preempt(Sequence& sequence) {
  leave_group(sequence);
  waiting_.insert(&sequence);
  ++sequence.num_preemptions;
  ++num_preemptions_;
}

void Scheduler::leave_group(Sequence& sequence) {
  allocator(sequence.group).release(sequence.id);
  --num_running_in(sequence.group);
  running_.erase(&sequence);
  sequence.leave_guesses(0);
  sequence.group = -1;
  sequence.num_computed = 0;
}

void Scheduler::plan_group(int64_t group) {
  Room room{limits_.rows_per_group, limits_.logit_rows_per_group};
  decoding_.clear();
  prompts_.clear();
  for (Sequence* sequence : running_) {
    if (sequence->group != group) continue;
    if (sequence->num_pending() > 1) use_cached(*sequence);
    if (sequence->num_pending() == 1) {
      decoding_.push_back(sequence);
    } else {
      prompts_.push_back({sequence, 0});
    }
  }
  for (const Sequence* sequence : decoding_) take_chunk(*sequence, 1, room);
  share_chunk(std::min(limits_.prefill_chunk, room.rows));
  for (Prompt& prompt : prompts_) prompt.num_rows = take_chunk(*prompt.sequence, prompt.num_rows, room);
  for (Sequence* sequence : decoding_) {
    fit_guesses(*sequence, room);
    plan_rows(*sequence, 1 + sequence->num_guesses);
  }
  for (const Prompt& prompt : prompts_) {
    if (prompt.num_rows > 0) plan_rows(*prompt.sequence, prompt.num_rows);
  }
  GroupPlan& plan = step_.plan.groups[static_cast<size_t>(group)];
  plan.page_tables.resize(plan.sequences.size());
}

// Gives prompts_, which are in turn, their shares of so many rows.
void Scheduler::share_chunk(int64_t num_rows) {
  if (prompts_.empty()) return;
  const auto share = [this](int64_t rows, int64_t least_priority) {
    for (Prompt& prompt : prompts_) {
      if (prompt.sequence->priority < least_priority) continue;
      const int64_t given = std::min(rows, prompt.num_left());
      prompt.num_rows += given;
      rows -= given;
    }
    return rows;
  };
  const InTurn in_turn;
  const int64_t first_priority = prompts_.front().sequence->priority;
  std::ranges::sort(prompts_, [&in_turn](const Prompt& a, const Prompt& b) {
    return a.num_left() != b.num_left() ? a.num_left() < b.num_left() : in_turn(a.sequence, b.sequence);
  });
  const int64_t left = share(num_rows / 2, first_priority);
  std::ranges::sort(prompts_, in_turn, &Prompt::sequence);
  share(num_rows - num_rows / 2 + left, INT64_MIN);
}

// Takes room for as many of the next pending tokens, at most `most`, as logits among them are left for; how many.
int64_t Scheduler::take_chunk(const Sequence& sequence, int64_t most, Room& room) {
  int64_t num_rows = 0;
  for (; num_rows < most; ++num_rows) {
    if (!sequence.wants_logits(sequence.num_computed + num_rows)) continue;
    if (room.logit_rows == 0) break;
    --room.logit_rows;
  }
  room.rows -= num_rows;
  return num_rows;
}

// Leaves the sequence those guesses that there is room for, and takes it. Every other sequence of the step has what it
// needs by now.
void Scheduler::fit_guesses(Sequence& sequence, Room& room) {
  if (sequence.num_guesses == 0) return;
  const int64_t most = std::min({sequence.num_guesses, room.rows, room.logit_rows});
  const int64_t num_fitting = allocator(sequence.group).extend_if_free(sequence.id, sequence.num_tokens() + most);
  sequence.leave_guesses(num_fitting - sequence.num_tokens());
  room.rows -= sequence.num_guesses;
  room.logit_rows -= sequence.num_guesses;
}

void Scheduler::plan_rows(Sequence& sequence, int64_t num_rows) {
  GroupPlan& plan = step_.plan.groups[static_cast<size_t>(sequence.group)];
  const int64_t first_row = plan.num_rows();
  const size_t index = plan.sequences.size();
  plan.sequences.push_back({.first_row = static_cast<int32_t>(first_row),
                            .num_rows = static_cast<int32_t>(num_rows),
                            .first_position = static_cast<int32_t>(sequence.num_computed)});
  const auto pages = allocator(sequence.group).pages(sequence.id);
  const auto num_pages = static_cast<size_t>(pages_for(sequence.num_computed + num_rows));
  if (plan.page_tables.size() == index) plan.page_tables.emplace_back();
  plan.page_tables[index].assign(pages.begin(), pages.begin() + static_cast<ptrdiff_t>(num_pages));
  for (int64_t row = 0; row < num_rows; ++row) {
    const int64_t position = sequence.num_computed + row;
    plan.token_ids.push_back(sequence.tokens[static_cast<size_t>(position)]);
    if (!sequence.wants_logits(position)) continue;
    plan.logit_rows.push_back(static_cast<int32_t>(first_row + row));
    step_.logits.push_back({&sequence, position});
    if (sequence.wants_experts) step_.plan.wants_experts = true;
  }
  step_.rows.push_back({&sequence, num_rows});
}

}  // namespace octet
