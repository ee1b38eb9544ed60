#include "runtime/engine/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <random>

namespace octet {
namespace {

using ::testing::ElementsAre;

constexpr SchedulerLimits kRoomy{.num_groups = 1,
                                 .pages_per_group = 100,
                                 .rows_per_group = 1000,
                                 .logit_rows_per_group = 100,
                                 .prefill_chunk = 50,
                                 .max_batch = 10,
                                 .prefix_cache = false};
constexpr SchedulerLimits kCaching = [] {
  SchedulerLimits limits = kRoomy;
  limits.prefix_cache = true;
  return limits;
}();

Sequence make_sequence(RequestId id, int64_t num_tokens) {
  Sequence sequence;
  sequence.id = {id, 0};
  sequence.tokens.assign(static_cast<size_t>(num_tokens), static_cast<TokenId>(id));  // no two begin alike
  return sequence;
}

// One step; every sequence that the step brought up to date gets one more token. Returns the rows by request.
std::map<RequestId, int64_t> advance(Scheduler& scheduler) {
  std::map<RequestId, int64_t> rows;
  const ScheduledStep& step = scheduler.next();
  scheduler.commit();
  for (const PlannedRows& planned : step.rows) {
    rows[planned.sequence->id.request] = planned.num_rows;
    if (planned.sequence->num_pending() == 0) planned.sequence->tokens.push_back(2);
  }
  return rows;
}

using Rows = std::map<RequestId, int64_t>;

TEST(Scheduler, PromptsShareTheChunkBehindTheDecodeRows) {
  Scheduler scheduler(kRoomy);
  Sequence first = make_sequence(1, 30);
  Sequence second = make_sequence(2, 45);
  Sequence third = make_sequence(3, 60);
  for (Sequence* sequence : {&third, &first, &second}) scheduler.add(*sequence);
  EXPECT_EQ(advance(scheduler), (Rows{{1, 30}, {2, 20}}));
  EXPECT_EQ(advance(scheduler), (Rows{{1, 1}, {2, 25}, {3, 25}}));
  EXPECT_EQ(advance(scheduler), (Rows{{1, 1}, {2, 1}, {3, 35}}));
  EXPECT_EQ(advance(scheduler), (Rows{{1, 1}, {2, 1}, {3, 1}}));
}

TEST(Scheduler, PlansWhatTheModelReads) {
  Scheduler scheduler(kRoomy);
  Sequence sequence = make_sequence(1, 70);
  for (size_t i = 0; i < 70; ++i) sequence.tokens[i] = static_cast<TokenId>(100 + i);
  scheduler.add(sequence);
  const GroupPlan first = scheduler.next().plan.groups[0];
  EXPECT_EQ(first.num_rows(), 50);
  EXPECT_EQ(first.page_tables[0].size(), 1U);
  EXPECT_TRUE(first.logit_rows.empty());
  scheduler.commit();
  const ScheduledStep& step = scheduler.next();
  const GroupPlan& second = step.plan.groups[0];
  EXPECT_EQ(step.plan.step, 1U);
  EXPECT_EQ(second.token_ids, std::vector<TokenId>(sequence.tokens.begin() + 50, sequence.tokens.end()));
  EXPECT_EQ(second.sequences[0].first_position, 50);
  EXPECT_EQ(second.page_tables[0].size(), 2U);
  EXPECT_EQ(second.page_tables[0][0], first.page_tables[0][0]);
  EXPECT_THAT(second.logit_rows, ElementsAre(19));
  ASSERT_EQ(step.logits.size(), 1U);
  EXPECT_EQ(step.logits[0].position, 69);
}

TEST(Scheduler, AChunkEndsWhereTheLogitRowsEnd) {
  SchedulerLimits limits = kRoomy;
  limits.logit_rows_per_group = 4;
  Scheduler scheduler(limits);
  Sequence decoding = make_sequence(1, 1);
  Sequence prompt = make_sequence(2, 30);
  prompt.prompt_logit_positions = {3, 4, 5, 6, 20};
  scheduler.add(decoding);
  scheduler.add(prompt);
  EXPECT_EQ(advance(scheduler), (Rows{{1, 1}, {2, 6}}));
  prompt.num_prompt_logits_taken = 3;
  EXPECT_EQ(advance(scheduler), (Rows{{1, 1}, {2, 24}}));
}

TEST(Scheduler, ThePreemptedYoungestComesBackFirstAndWhole) {
  SchedulerLimits limits = kRoomy;
  limits.pages_per_group = 4;
  limits.prefill_chunk = 1000;
  Scheduler scheduler(limits);
  Sequence old = make_sequence(1, kPageTokens - 1);
  Sequence young = make_sequence(2, 2 * kPageTokens);
  Sequence late = make_sequence(3, 1);
  scheduler.add(old);
  scheduler.add(young);
  advance(scheduler);
  scheduler.add(late);
  // Both grow: old to its second page, young to its third, one more than there are.
  while (young.running()) {
    advance(scheduler);
    ASSERT_LT(old.num_tokens(), kPageTokens + 3);
  }
  EXPECT_EQ(scheduler.num_preemptions(), 1);
  EXPECT_TRUE(old.running());
  EXPECT_FALSE(late.running()) << "overtook an older one";
  EXPECT_EQ(young.num_computed, 0);
  const int64_t kept = young.num_tokens();
  scheduler.remove(old);
  EXPECT_EQ(advance(scheduler)[2], kept);
}

TEST(Scheduler, ANewcomerGoesWhereLeastIsToBeDone) {
  SchedulerLimits limits = kRoomy;
  limits.num_groups = 3;
  limits.pages_per_group = 10;
  Scheduler scheduler(limits);
  std::deque<Sequence> sequences;
  for (const int64_t num_pages : {5, 3, 4, 1, 1}) {
    sequences.push_back(make_sequence(sequences.size() + 1, num_pages * kPageTokens));
    scheduler.add(sequences.back());
  }
  scheduler.next();
  std::vector<int64_t> groups;
  for (const Sequence& sequence : sequences) groups.push_back(sequence.group);
  EXPECT_THAT(groups, ElementsAre(0, 1, 2, 1, 2));
}

// Serves one sequence to its first token, and lets it go.
void serve_alone(Scheduler& scheduler, Sequence& sequence) {
  const int64_t num_tokens = sequence.num_tokens();
  scheduler.add(sequence);
  while (sequence.num_tokens() == num_tokens) advance(scheduler);
  scheduler.remove(sequence);
  sequence.tokens.resize(static_cast<size_t>(num_tokens));
}

TEST(Scheduler, StartsBehindWhatIsCached) {
  Scheduler scheduler(kCaching);
  Sequence first = make_sequence(1, 3 * kPageTokens);
  serve_alone(scheduler, first);
  EXPECT_EQ(scheduler.pages(0).num_free(), 100);
  Sequence longer = make_sequence(2, 3 * kPageTokens + 7);
  longer.tokens = first.tokens;
  longer.tokens.resize(3 * kPageTokens + 7, 9);
  scheduler.add(longer);
  EXPECT_EQ(advance(scheduler), (Rows{{2, 7}}));
  EXPECT_EQ(longer.num_cached, 3 * kPageTokens);
  // The last token is computed in any case, for its logits, and so is its page.
  Sequence same = make_sequence(3, 3 * kPageTokens);
  same.tokens = first.tokens;
  scheduler.add(same);
  EXPECT_EQ(advance(scheduler)[3], 50);
  EXPECT_EQ(same.num_cached, 2 * kPageTokens);
  // Wanted logits end what may come from the cache, as long as they are wanted.
  Sequence with_logits = make_sequence(4, 3 * kPageTokens);
  with_logits.tokens = first.tokens;
  with_logits.prompt_logit_positions = {10, kPageTokens + 3};
  with_logits.num_prompt_logits_taken = 1;
  scheduler.add(with_logits);
  advance(scheduler);
  EXPECT_EQ(with_logits.num_cached, kPageTokens);
  EXPECT_EQ(scheduler.num_hit_tokens(), 6 * kPageTokens);
}

TEST(Scheduler, TwoThatBeginAlikeComputeItOnce) {
  Scheduler scheduler(kCaching);
  Sequence first = make_sequence(1, 4 * kPageTokens + 1);
  Sequence second = make_sequence(2, 4 * kPageTokens + 1);
  second.tokens = first.tokens;
  scheduler.add(first);
  scheduler.add(second);
  int64_t num_rows = 0;
  while (second.num_tokens() == 4 * kPageTokens + 1) {
    for (const auto& [request, rows] : advance(scheduler)) num_rows += rows;
    scheduler.pages(0).check_invariant();
  }
  EXPECT_LT(num_rows, 5 * kPageTokens + 50);
  EXPECT_EQ(scheduler.pages(0).num_free(), 100 - 4 - 2);
}

TEST(Scheduler, APreemptedSequenceFindsItsPagesAgain) {
  SchedulerLimits limits = kCaching;
  limits.pages_per_group = 7;
  limits.prefill_chunk = 1000;
  Scheduler scheduler(limits);
  Sequence old = make_sequence(1, kPageTokens - 2);
  Sequence young = make_sequence(2, 4 * kPageTokens + 20);
  scheduler.add(old);
  scheduler.add(young);
  while (scheduler.num_preemptions() == 0) {
    advance(scheduler);
    ASSERT_LT(old.num_tokens(), 3 * kPageTokens);
  }
  const int64_t kept = young.num_tokens();
  scheduler.remove(old);
  EXPECT_EQ(advance(scheduler)[2], kept - 5 * kPageTokens);
  EXPECT_EQ(young.num_preemptions, 1);
}

TEST(Scheduler, PlacementWeighsAHitAgainstLoad) {
  SchedulerLimits limits = kCaching;
  limits.num_groups = 2;
  Scheduler scheduler(limits);
  Sequence first = make_sequence(1, 3 * kPageTokens);
  serve_alone(scheduler, first);  // its pages are in group 0
  std::deque<Sequence> sequences;
  std::vector<int64_t> groups;
  for (RequestId id = 2; id <= 6; ++id) {
    sequences.push_back(make_sequence(id, 3 * kPageTokens + 1));
    std::copy(first.tokens.begin(), first.tokens.end(), sequences.back().tokens.begin());
    scheduler.add(sequences.back());
    advance(scheduler);
    groups.push_back(sequences.back().group);
  }
  // A hit of three pages outweighs two running sequences, but not three; a prompt that is being computed weighs more.
  EXPECT_THAT(groups, ElementsAre(0, 0, 0, 1, 0));
}

TEST(Scheduler, ANewcomerLeavesRoomForTheOthersToGrow) {
  SchedulerLimits limits = kRoomy;
  limits.pages_per_group = 5;
  Scheduler scheduler(limits);
  Sequence first = make_sequence(1, 2 * kPageTokens);
  Sequence second = make_sequence(2, 2 * kPageTokens);
  Sequence third = make_sequence(3, 1);
  for (Sequence* sequence : {&first, &second, &third}) scheduler.add(*sequence);
  scheduler.next();
  EXPECT_TRUE(second.running());
  EXPECT_FALSE(third.running()) << "the one free page would have to be taken from it at once";
}

TEST(Scheduler, AForkWithoutRoomWaitsAndHoldsNothing) {
  SchedulerLimits limits = kRoomy;
  limits.prefill_chunk = 1000;
  limits.max_batch = 2;
  Scheduler scheduler(limits);
  Sequence parent = make_sequence(1, 3 * kPageTokens + 10);
  scheduler.add(parent);
  scheduler.next();
  scheduler.commit();
  std::vector<Sequence> children(2, parent);
  for (size_t i = 0; i < 2; ++i) {
    children[i].id.sample = static_cast<int32_t>(i + 1);
    children[i].num_computed = 0;
    children[i].group = -1;
    children[i].tokens.push_back(5);
    scheduler.fork(parent, children[i]);
  }
  EXPECT_EQ(children[0].num_computed, 3 * kPageTokens);
  EXPECT_FALSE(children[1].running());
  EXPECT_EQ(scheduler.pages(0).num_free(), 100 - 4 - 1);
  scheduler.remove(parent);
  EXPECT_EQ(scheduler.pages(0).num_free(), 100 - 4);
  const ScheduledStep& step = scheduler.next();
  ASSERT_EQ(step.rows.size(), 2U);
  EXPECT_EQ(step.rows[0].num_rows, 11);
  EXPECT_EQ(step.rows[1].num_rows, 3 * kPageTokens + 11);
}

TEST(Scheduler, AStreamOfSmallRequestsDoesNotStarveALargeOne) {
  SchedulerLimits limits = kRoomy;
  limits.pages_per_group = 8;
  Scheduler scheduler(limits);
  std::deque<Sequence> sequences;
  std::map<RequestId, int64_t> end;  // tokens at which each is done
  RequestId next_id = 1;
  const RequestId large = 20;
  for (int step = 0; step < 400; ++step) {
    const bool is_large = next_id == large;
    sequences.push_back(make_sequence(next_id++, is_large ? 8 * kPageTokens - 5 : 20));
    end[sequences.back().id.request] = sequences.back().num_tokens() + 4;
    scheduler.add(sequences.back());
    advance(scheduler);
    for (Sequence& sequence : sequences) {
      if (sequence.num_tokens() >= end[sequence.id.request]) {
        scheduler.remove(sequence);
        if (sequence.id.request == large) return;
      }
    }
  }
  FAIL() << "the large request was never served";
}

// The long prompt takes eight steps; each short one that arrives meanwhile is done in its first step.
TEST(Scheduler, ShortPromptsDoNotWaitForALongOne) {
  SchedulerLimits limits = kRoomy;
  limits.prefill_chunk = 512;
  Scheduler scheduler(limits);
  std::deque<Sequence> sequences{make_sequence(1, 4096)};
  scheduler.add(sequences.front());
  EXPECT_EQ(advance(scheduler), (Rows{{1, 512}}));
  for (RequestId id = 2; sequences.front().num_tokens() == 4096; ++id) {
    ASSERT_LE(id, 16U) << "the long prompt lost more than half of its speed";
    sequences.push_back(make_sequence(id, 256));
    scheduler.add(sequences.back());
    const Rows rows = advance(scheduler);
    EXPECT_EQ(rows.at(id), 256);
    EXPECT_GE(rows.at(1), 256);
    scheduler.remove(sequences.back());
  }
}

TEST(Scheduler, ASmallerPrioritysShortPromptsWait) {
  Scheduler scheduler(kRoomy);
  Sequence large = make_sequence(1, 200);
  Sequence small = make_sequence(2, 10);
  large.priority = 1;
  scheduler.add(large);
  scheduler.add(small);
  for (int step = 0; step < 4; ++step) EXPECT_EQ(advance(scheduler), (Rows{{1, 50}}));
  EXPECT_EQ(advance(scheduler), (Rows{{1, 1}, {2, 10}}));
}

TEST(Scheduler, ALargerPriorityTakesTheRoomOfASmallerOne) {
  SchedulerLimits limits = kRoomy;
  limits.max_batch = 2;
  Scheduler scheduler(limits);
  std::deque<Sequence> sequences;
  for (RequestId id = 1; id <= 4; ++id) {
    sequences.push_back(make_sequence(id, 5));
    sequences.back().priority = id == 3 ? 1 : 0;
    scheduler.add(sequences.back());
    advance(scheduler);
  }
  EXPECT_TRUE(sequences[0].running());
  EXPECT_FALSE(sequences[1].running());
  EXPECT_TRUE(sequences[2].running());
  EXPECT_FALSE(sequences[3].running());
  EXPECT_EQ(scheduler.num_preemptions(), 1);
  scheduler.remove(sequences[2]);
  advance(scheduler);
  EXPECT_TRUE(sequences[1].running());
}

// A newcomer of larger priority arrives in every step, so there is always one that waits.
TEST(Scheduler, AStreamOfLargerPrioritiesDoesNotStarveASmallOne) {
  SchedulerLimits limits = kRoomy;
  limits.max_batch = 1;
  Scheduler scheduler(limits);
  std::deque<Sequence> sequences{make_sequence(1, 5)};
  sequences.front().priority = -1;
  scheduler.add(sequences.front());
  int64_t step = 0;
  for (; sequences.front().num_tokens() == 5; ++step) {
    ASSERT_LT(step, 3 * kPriorityHeadStart);
    sequences.push_back(make_sequence(2 + static_cast<RequestId>(step), 5));
    sequences.back().priority = 1;
    scheduler.add(sequences.back());
    advance(scheduler);
    for (Sequence& sequence : sequences) {
      if (sequence.num_tokens() > 5) scheduler.remove(sequence);
    }
  }
  EXPECT_GE(step, 2 * kPriorityHeadStart);
}

TEST(Scheduler, PagesAddUpUnderRandomUse) {
  std::mt19937_64 rng(31);
  SchedulerLimits limits = kCaching;
  limits.num_groups = 2;
  limits.pages_per_group = 7;
  Scheduler scheduler(limits);
  std::deque<Sequence> sequences;
  for (int round = 0; round < 3000; ++round) {
    if (rng() % 4 == 0) {
      sequences.push_back(make_sequence(sequences.size() + 1, 1 + static_cast<int64_t>(rng() % 300)));
      scheduler.add(sequences.back());
    }
    advance(scheduler);
    for (Sequence& sequence : sequences) {
      if (sequence.num_tokens() >= 400 || rng() % 100 == 0) scheduler.remove(sequence);
      const auto num_pages = [&](int64_t group) { return std::ssize(scheduler.pages(group).pages(sequence.id)); };
      for (int64_t group = 0; group < 2; ++group) {
        ASSERT_EQ(num_pages(group) > 0, sequence.group == group);
        ASSERT_TRUE(sequence.group != group || num_pages(group) >= pages_for(sequence.num_computed));
      }
    }
    for (int64_t group = 0; group < 2; ++group) scheduler.pages(group).check_invariant();
  }
  EXPECT_GT(scheduler.num_preemptions(), 10);
}

}  // namespace
}  // namespace octet
