// Tokens that were guessed and computed ahead: kept where they are what would have come anyway, and without a trace
// where they are not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/engine/guesser.h"
#include "tests/engine/requests.h"

namespace octet {
namespace {

using ::testing::ElementsAre;

constexpr SchedulerLimits kRoomy{.num_groups = 1,
                                 .pages_per_group = 100,
                                 .rows_per_group = 1000,
                                 .logit_rows_per_group = 100,
                                 .prefill_chunk = 1000,
                                 .max_batch = 10,
                                 .prefix_cache = true};

Sequence make_sequence(RequestId id, const std::vector<TokenId>& tokens) {
  Sequence sequence;
  sequence.id = {id, 0};
  sequence.tokens = tokens;
  return sequence;
}

void add_guesses(Sequence& sequence, const std::vector<TokenId>& guesses) {
  sequence.tokens.insert(sequence.tokens.end(), guesses.begin(), guesses.end());
  sequence.num_guesses = std::ssize(guesses);
}

// One step, in which the model says that the sequence is `truth`: what the engine makes of its rows. How many tokens
// it became longer by.
int64_t advance(Scheduler& scheduler, Sequence& sequence, const std::vector<TokenId>& truth) {
  const int64_t before = sequence.num_tokens();
  const ScheduledStep& step = scheduler.next();
  scheduler.commit();
  for (const PlannedLogits& row : step.logits) {
    if (row.sequence != &sequence || !sequence.names_next_token(row.position)) continue;
    const TokenId next = truth.at(static_cast<size_t>(sequence.num_tokens()));
    if (sequence.guesses(next)) {
      --sequence.num_guesses;
      scheduler.keep_guess(sequence);
    } else {
      scheduler.drop_guesses(sequence);
      sequence.tokens.push_back(next);
    }
  }
  return sequence.num_tokens() - before;
}

TEST(Guesses, AreComputedBehindThePendingToken) {
  Scheduler scheduler(kRoomy);
  const std::vector<TokenId> truth = random_tokens(200, 3);
  Sequence sequence = make_sequence(1, std::vector<TokenId>(truth.begin(), truth.begin() + 61));
  scheduler.add(sequence);
  ASSERT_EQ(advance(scheduler, sequence, truth), 1);
  add_guesses(sequence, {truth[62], truth[63], truth[64], truth[65] + 1, truth[66]});
  EXPECT_EQ(sequence.num_tokens(), 62);
  const ScheduledStep& step = scheduler.next();
  const GroupPlan& plan = step.plan.groups[0];
  EXPECT_EQ(plan.token_ids, std::vector<TokenId>(sequence.tokens.begin() + 61, sequence.tokens.end()));
  EXPECT_THAT(plan.logit_rows, ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_EQ(plan.sequences[0].first_position, 61);
  EXPECT_EQ(plan.sequences[0].num_rows, 6);
  EXPECT_EQ(plan.page_tables[0].size(), 2U);
  scheduler.commit();
  EXPECT_EQ(sequence.num_computed, 62);
  EXPECT_EQ(scheduler.pages(0).find_prefix(sequence.tokens, kNoSalt).num_pages, 0) << "cached before it is final";
  for (int64_t kept = 1; kept <= 3; ++kept) {
    ASSERT_TRUE(sequence.guesses(truth[static_cast<size_t>(sequence.num_tokens())]));
    --sequence.num_guesses;
    scheduler.keep_guess(sequence);
    EXPECT_EQ(sequence.num_computed, 62 + kept);
    EXPECT_EQ(scheduler.pages(0).find_prefix(sequence.tokens, kNoSalt).num_pages, kept >= 2 ? 1 : 0);
  }
  EXPECT_TRUE(sequence.names_next_token(64));
  scheduler.drop_guesses(sequence);
  EXPECT_EQ(sequence.tokens, std::vector<TokenId>(truth.begin(), truth.begin() + 65));
  EXPECT_EQ(scheduler.pages(0).pages(sequence.id).size(), 2U);
  scheduler.check_invariant();
}

TEST(Guesses, TakeNothingFromAnyone) {
  SchedulerLimits limits = kRoomy;
  limits.rows_per_group = 40;
  limits.logit_rows_per_group = 5;
  limits.prefill_chunk = 30;
  Scheduler scheduler(limits);
  Sequence first = make_sequence(1, random_tokens(10, 1));
  Sequence second = make_sequence(2, random_tokens(10, 2));
  scheduler.add(first);
  scheduler.add(second);
  scheduler.next();
  scheduler.commit();
  for (Sequence* sequence : {&first, &second}) sequence->tokens.push_back(7);
  Sequence prompt = make_sequence(3, random_tokens(100, 3));
  prompt.prompt_logit_positions = {4};
  scheduler.add(prompt);
  const auto rows_with = [&](int64_t num_guesses) {
    for (Sequence* sequence : {&first, &second}) {
      add_guesses(*sequence, random_tokens(num_guesses, 4));
    }
    std::vector<int64_t> rows;
    for (const PlannedRows& planned : scheduler.next().rows) rows.push_back(planned.num_rows);
    for (Sequence* sequence : {&first, &second}) scheduler.drop_guesses(*sequence);
    scheduler.check_invariant();
    return rows;
  };
  // Of five rows of logits two are those of the tokens that are pending, and one is the prompt's.
  EXPECT_THAT(rows_with(0), ElementsAre(1, 1, 30));
  EXPECT_THAT(rows_with(1), ElementsAre(2, 2, 30));
  EXPECT_THAT(rows_with(3), ElementsAre(3, 1, 30));
  scheduler.remove(prompt);
  EXPECT_THAT(rows_with(2), ElementsAre(3, 2));
}

TEST(Guesses, LeaveCachedPagesAlone) {
  SchedulerLimits limits = kRoomy;
  limits.pages_per_group = 3;
  Scheduler scheduler(limits);
  Sequence earlier = make_sequence(1, random_tokens(2 * kPageTokens, 1));
  scheduler.add(earlier);
  scheduler.next();
  scheduler.commit();
  scheduler.remove(earlier);
  Sequence sequence = make_sequence(2, random_tokens(kPageTokens - 3, 2));
  scheduler.add(sequence);
  scheduler.next();
  scheduler.commit();
  sequence.tokens.push_back(5);  // two positions of its page are left behind it
  add_guesses(sequence, {1, 2, 3, 4});
  EXPECT_EQ(scheduler.next().rows[0].num_rows, 3);
  EXPECT_EQ(sequence.num_guesses, 2);
  EXPECT_EQ(scheduler.pages(0).num_evictions(), 0);
  EXPECT_EQ(scheduler.pages(0).num_idle(), 2);
}

TEST(Guesses, GoWithAPreemptedSequence) {
  SchedulerLimits limits = kRoomy;
  limits.pages_per_group = 3;
  Scheduler scheduler(limits);
  Sequence old = make_sequence(1, random_tokens(kPageTokens - 1, 1));
  Sequence young = make_sequence(2, random_tokens(kPageTokens, 2));
  scheduler.add(old);
  scheduler.add(young);
  scheduler.next();
  scheduler.commit();
  old.tokens.resize(2 * kPageTokens + 1, 3);
  young.tokens.push_back(4);
  add_guesses(young, {1, 2});
  scheduler.next();
  EXPECT_FALSE(young.running());
  EXPECT_EQ(young.num_guesses, 0);
  EXPECT_EQ(std::ssize(young.tokens), kPageTokens + 1);
  scheduler.check_invariant();
}

// Two schedulers with the same past, in which other sequences have left their pages. One decodes token by token, the
// other guesses; whenever both have come equally far, they must be equal.
class PlainAndGuessing {
 public:
  PlainAndGuessing(uint64_t seed, bool known_before)
      : rng_(seed), known_before_(known_before), truth_(random_tokens(6 * kPageTokens, seed)) {
    for (Side& side : sides_) begin(side);
  }

  void decode(int64_t prompt_size) {
    for (Side& side : sides_) {
      side.sequence = make_sequence(9, std::vector<TokenId>(truth_.begin(), truth_.begin() + prompt_size));
      side.scheduler.add(side.sequence);
      ASSERT_EQ(advance(side.scheduler, side.sequence, truth_), 1);
    }
    while (guessing_.num_tokens() + kMostGuesses + 1 < std::ssize(truth_)) {
      guess();
      const int64_t num_new = advance(sides_[1].scheduler, guessing_, truth_);
      ASSERT_GE(num_new, 1);
      num_kept_ += num_new - 1;
      for (int64_t i = 0; i < num_new; ++i) ASSERT_EQ(advance(sides_[0].scheduler, plain_, truth_), 1);
      expect_equal();
    }
  }

  int64_t num_kept() const { return num_kept_; }
  int64_t num_wrong() const { return num_wrong_; }
  int64_t num_evictions() const { return sides_[1].scheduler.pages(0).num_evictions(); }

 private:
  struct Side {
    Scheduler scheduler{[] {
      SchedulerLimits limits = kRoomy;
      limits.pages_per_group = 9;
      return limits;
    }()};
    Sequence sequence;
  };

  // Leaves five idle pages: two with the beginning of the truth, if it is known before.
  void begin(Side& side) const {
    std::vector<TokenId> other = random_tokens(3 * kPageTokens, 1077);
    for (const bool truth : {true, false}) {
      std::vector<TokenId> tokens = random_tokens(2 * kPageTokens, 1078);
      if (truth && known_before_) tokens.assign(truth_.begin(), truth_.begin() + 2 * kPageTokens);
      Sequence earlier = make_sequence(truth ? 1 : 2, truth ? tokens : other);
      side.scheduler.add(earlier);
      side.scheduler.next();
      side.scheduler.commit();
      side.scheduler.remove(earlier);
    }
  }

  void guess() {
    const int64_t count = static_cast<int64_t>(rng_() % (kMostGuesses + 1));
    const int64_t num_right = static_cast<int64_t>(rng_() % static_cast<uint64_t>(count + 1));
    const auto next = truth_.begin() + guessing_.num_tokens();
    std::vector<TokenId> guesses(next, next + count);
    if (num_right < count) {
      ++num_wrong_;
      ++guesses[static_cast<size_t>(num_right)];
    }
    add_guesses(guessing_, guesses);
  }

  void expect_equal() {
    ASSERT_EQ(guessing_.num_guesses, 0);
    ASSERT_EQ(guessing_.tokens, plain_.tokens);
    ASSERT_EQ(guessing_.num_computed, plain_.num_computed);
    const PageAllocator& plain = sides_[0].scheduler.pages(0);
    const PageAllocator& guessing = sides_[1].scheduler.pages(0);
    // A page that another one takes the place of is free again at another moment.
    if (!known_before_) {
      ASSERT_TRUE(std::ranges::equal(guessing.pages(guessing_.id), plain.pages(plain_.id)));
    }
    ASSERT_EQ(guessing.pages(guessing_.id).size(), plain.pages(plain_.id).size());
    ASSERT_EQ(guessing.num_free(), plain.num_free());
    ASSERT_EQ(guessing.num_idle(), plain.num_idle());
    ASSERT_EQ(guessing.num_evictions(), plain.num_evictions());
    for (const auto& tokens :
         {plain_.tokens, random_tokens(3 * kPageTokens, 1077), random_tokens(2 * kPageTokens, 1078)}) {
      ASSERT_EQ(guessing.find_prefix(tokens, kNoSalt).num_pages, plain.find_prefix(tokens, kNoSalt).num_pages);
    }
    for (const Side& side : sides_) side.scheduler.check_invariant();
  }

  std::mt19937_64 rng_;
  bool known_before_;
  std::vector<TokenId> truth_;
  std::array<Side, 2> sides_;
  Sequence& plain_ = sides_[0].sequence;
  Sequence& guessing_ = sides_[1].sequence;
  int64_t num_kept_ = 0;
  int64_t num_wrong_ = 0;
};

TEST(Guesses, LeaveWhatPlainDecodingLeaves) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    PlainAndGuessing both(seed, /*known_before=*/seed % 2 == 0);
    ASSERT_NO_FATAL_FAILURE(both.decode(1 + static_cast<int64_t>(seed)));
    EXPECT_GT(both.num_kept(), 10);
    EXPECT_GT(both.num_wrong(), 5);
    EXPECT_GT(both.num_evictions() + (seed % 2 == 0 ? 1 : 0), 0);
  }
}

std::vector<Request> requests_of_every_kind() {
  std::vector<Request> requests(8);
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i] = make_request(1 + static_cast<int64_t>(i) * 37, 150, i + 1);
    requests[i].params.logprobs = 2;
    requests[i].params.sampling.temperature = i % 2 == 0 ? 0 : 1;
    requests[i].routed_experts = true;
  }
  requests[1].params.sampling.frequency_penalty = 0.7;
  requests[1].params.sampling.repetition_penalty = 1.3;
  requests[2].eos_ids = {3, 4};
  requests[2].params.min_tokens = 40;
  requests[3].params.num_samples = 3;
  requests[4].resumed_output = random_tokens(20, 5);
  requests[5].params.sampling.top_k = 4;
  requests[5].params.stop_token_ids = {11};
  requests[6].prompt_logprobs = 1;
  requests[7].params.max_tokens = 1;
  return requests;
}

void expect_same(Recorder& actual, Recorder& expected) {
  for (auto& [index, sample] : expected.samples) {
    EXPECT_EQ(actual.samples[index].tokens, sample.tokens);
    EXPECT_EQ(actual.samples[index].logprobs, sample.logprobs);
    EXPECT_EQ(actual.samples[index].experts, sample.experts);
    EXPECT_EQ(actual.samples[index].finish, sample.finish);
    EXPECT_EQ(actual.samples[index].num_output_tokens, sample.num_output_tokens);
  }
}

TEST(Guesses, ChangeNothingButTheNumberOfSteps) {
  int64_t num_shorter = 0;
  for (const Request& request : requests_of_every_kind()) {
    for (uint64_t seed = 0; seed < 10; ++seed) {
      SCOPED_TRACE(testing::Message() << "prompt of " << request.prompt.size() << ", seed " << seed);
      FakeRunner plain_runner({});
      Engine plain(plain_runner);
      Recorder expected;
      ASSERT_TRUE(plain.submit(request, expected.callbacks()).ok());
      ASSERT_TRUE(plain.run_until_idle().ok());

      Guesser guesser(40, seed);
      FakeRunner runner({});
      Engine engine(runner, {}, guesser.drafter());
      Recorder recorder;
      const auto id = engine.submit(request, recorder.callbacks());
      ASSERT_TRUE(id.ok());
      guesser.learn(*id, request, expected);
      for (bool more = true; more; engine.check_invariant()) more = *engine.step();
      expect_same(recorder, expected);
      EXPECT_EQ(engine.stats().num_pages_used, 0);
      EXPECT_EQ(engine.stats().num_pages_idle, plain.stats().num_pages_idle) << "another prefix cache";
      EXPECT_EQ(engine.stats().num_output_tokens, plain.stats().num_output_tokens);
      if (engine.stats().num_steps < plain.stats().num_steps) ++num_shorter;
      EXPECT_LE(engine.stats().num_steps, plain.stats().num_steps);
    }
  }
  EXPECT_GT(num_shorter, 50);
}

// A drafter's guess that is right saves a step, and one that is wrong costs none.
TEST(Guesses, RightOnesSaveTheirSteps) {
  const Request request = make_request(20, 61);
  Recorder expected = run_alone(request);
  FakeRunner runner({});
  Engine engine(runner, {}, [&](const Sequence& sequence, int64_t most, std::vector<TokenId>& guesses) {
    const auto next = expected.tokens().begin() + (sequence.num_tokens() - 20);
    guesses.assign(next, next + std::min<int64_t>(most, 3));
  });
  Recorder recorder;
  ASSERT_TRUE(engine.submit(request, recorder.callbacks()).ok());
  ASSERT_TRUE(engine.run_until_idle().ok());
  EXPECT_EQ(recorder.tokens(), expected.tokens());
  EXPECT_EQ(engine.stats().num_steps, 1 + 60 / 4);
  EXPECT_EQ(engine.stats().num_rows, 20 + 60);
}

TEST(Guesses, BehindTheEndGoWithTheRequest) {
  const Request request = make_request(50, 100);
  Recorder free_run = run_alone(request);
  FakeRunner runner({});
  Guesser guesser(40, 1);
  Engine engine(runner, {}, guesser.drafter());
  // Ended by the client's word and by its cancel, in the middle of what a step brought.
  Recorder stopped;
  Recorder cancelled;
  stopped.on_token = [](const TokenEvent& event) { return event.output_index == 31; };
  const RequestId first = *engine.submit(request, stopped.callbacks());
  const RequestId second = *engine.submit(request, cancelled.callbacks());
  cancelled.on_token = [&](const TokenEvent& event) {
    if (event.output_index == 33) engine.cancel(second);
    return false;
  };
  guesser.learn(first, request, free_run);
  guesser.learn(second, request, free_run);
  for (bool more = true; more; engine.check_invariant()) more = *engine.step();
  const auto beginning = [&](ptrdiff_t size) {
    return std::vector<TokenId>(free_run.tokens().begin(), free_run.tokens().begin() + size);
  };
  EXPECT_EQ(stopped.tokens(), beginning(32));
  EXPECT_EQ(stopped.finish(), FinishReason::kStop);
  EXPECT_EQ(cancelled.tokens(), beginning(34));
  EXPECT_EQ(cancelled.samples[0].num_output_tokens, 34);
  EXPECT_EQ(cancelled.finish(), FinishReason::kCancelled);
  EXPECT_EQ(engine.stats().num_pages_used, 0);
}

}  // namespace
}  // namespace octet
