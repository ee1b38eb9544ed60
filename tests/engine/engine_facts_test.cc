// What the engine reports beside tokens: prompt log-probabilities, times, counters.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/engine/engine.h"
#include "tests/engine/requests.h"

namespace octet {
namespace {

TEST(EngineFacts, PromptLogprobsAreThoseOfThePromptsLogits) {
  for (const int64_t prompt_size : {1, 2, 64, 150}) {
    for (const int64_t max_tokens : {0, 3}) {
      SCOPED_TRACE(testing::Message() << prompt_size << " + " << max_tokens);
      Request raw = make_request(prompt_size, max_tokens);
      raw.all_prompt_logits = true;
      Recorder expected = run_alone(raw);

      Request request = make_request(prompt_size, max_tokens);
      request.prompt_logprobs = 4;
      Recorder recorder;
      RequestCallbacks callbacks = recorder.callbacks();
      int64_t num_seen = 0;
      callbacks.on_prompt_logprobs = [&](const PromptTokenEvent& event) {
        EXPECT_EQ(event.position, ++num_seen);
        EXPECT_EQ(event.token_id, request.prompt[static_cast<size_t>(event.position)]);
        std::vector<float> logits = expected.prompt_logits.at(event.position - 1);
        double total = 0;
        for (const float logit : logits) total += std::exp(double{logit});
        EXPECT_NEAR(event.logprobs.chosen, logits[static_cast<size_t>(event.token_id)] - std::log(total), 1e-5);
        ASSERT_EQ(event.logprobs.top.size(), 4U);
        for (const TokenLogprob& top : event.logprobs.top) {
          const auto largest = std::max_element(logits.begin(), logits.end());
          EXPECT_EQ(top.token_id, largest - logits.begin());
          EXPECT_NEAR(top.logprob, *largest - std::log(total), 1e-5);
          *largest = -1e9F;
        }
      };
      FakeRunner runner({.max_logit_rows = 7});
      Engine engine(runner);
      ASSERT_TRUE(engine.submit(request, callbacks).ok());
      ASSERT_TRUE(engine.run_until_idle().ok());
      EXPECT_EQ(num_seen, prompt_size - 1);
      EXPECT_EQ(recorder.tokens(), expected.tokens());
      EXPECT_EQ(recorder.finish(), FinishReason::kLength);
    }
  }
}

TEST(EngineFacts, ATimeLimitEndsAsOne) {
  FakeRunner runner({});
  Engine engine(runner);
  Recorder recorder;
  const RequestId id = *engine.submit(make_request(20, 50), recorder.callbacks());
  for (int step = 0; step < 5; ++step) ASSERT_TRUE(*engine.step());
  engine.cancel(id, FinishReason::kTimeLimit);
  engine.cancel(id);  // it ends already
  ASSERT_FALSE(*engine.step());
  EXPECT_EQ(recorder.finish(), FinishReason::kTimeLimit);
  EXPECT_EQ(finish_reason_name(recorder.finish()), "time_limit");
  EXPECT_EQ(recorder.samples[0].num_output_tokens, 5);
}

TEST(EngineFacts, TimesFollowARequest) {
  FakeRunner runner({.max_rows = 30});
  Engine engine(runner, {.max_batch = 1});
  const auto before = SampleTimes::Clock::now();
  Recorder first;
  Recorder second;
  Recorder never_ran;
  ASSERT_TRUE(engine.submit(make_request(100, 10), first.callbacks()).ok());
  ASSERT_TRUE(engine.submit(make_request(20, 1), second.callbacks()).ok());
  const RequestId last = *engine.submit(make_request(20, 1), never_ran.callbacks());
  ASSERT_TRUE(*engine.step());
  engine.cancel(last);
  ASSERT_TRUE(engine.run_until_idle().ok());
  const SampleTimes& a = first.samples[0].times;
  const SampleTimes& b = second.samples[0].times;
  EXPECT_LE(before, a.submitted);
  EXPECT_LE(a.submitted, *a.first_scheduled);
  EXPECT_LT(*a.first_scheduled, *a.first_token);
  EXPECT_LT(*a.first_token, *a.last_token);
  EXPECT_LE(b.submitted, *a.first_scheduled);
  EXPECT_LT(*a.last_token, *b.first_scheduled);
  EXPECT_EQ(*b.first_token, *b.last_token);
  EXPECT_FALSE(never_ran.samples[0].times.first_scheduled);
  EXPECT_FALSE(never_ran.samples[0].times.first_token);
}

TEST(EngineFacts, CountsWhatItDid) {
  FakeRunner runner({.max_rows = 30});
  Engine engine(runner);
  Recorder recorder;
  Request request = make_request(70, 10);
  request.params.num_samples = 3;
  ASSERT_TRUE(engine.submit(request, recorder.callbacks()).ok());
  const std::vector<std::array<int64_t, 3>> expected = {{30, 1, 0}, {30, 1, 0}, {10, 1, 3}};
  int64_t num_rows = 0;
  for (const auto& [rows, sequences, tokens] : expected) {
    ASSERT_TRUE(*engine.step());
    EXPECT_EQ(engine.last_step().num_rows, rows);
    EXPECT_EQ(engine.last_step().num_sequences, sequences);
    EXPECT_EQ(engine.last_step().num_tokens, tokens);
    EXPECT_GT(engine.last_step().seconds.model, 0);
    num_rows += rows;
  }
  for (bool more = true; more; num_rows += engine.last_step().num_rows) more = *engine.step();
  EXPECT_EQ(engine.stats().num_rows, num_rows);
  EXPECT_GT(engine.stats().seconds.model, engine.last_step().seconds.model);
  EXPECT_GT(engine.stats().seconds.total(), engine.stats().seconds.model);
  EXPECT_EQ(engine.stats().num_prompt_tokens, 70);
  EXPECT_EQ(engine.stats().num_output_tokens, 30);
  ASSERT_FALSE(*engine.step());
  EXPECT_EQ(engine.last_step().num_rows, 0);
}

TEST(EngineFacts, ALargerPriorityRunsSooner) {
  FakeRunner runner({});
  Engine engine(runner, {.max_batch = 1});
  std::vector<int> order;
  std::vector<Recorder> recorders(4);
  const std::vector<int32_t> priorities = {0, -1, 0, 5};
  for (size_t i = 0; i < 4; ++i) {
    Request request = make_request(10, 3);
    request.priority = priorities[i];
    RequestCallbacks callbacks = recorders[i].callbacks();
    callbacks.on_finish = [&order, i](const FinishEvent&) { order.push_back(static_cast<int>(i)); };
    ASSERT_TRUE(engine.submit(request, callbacks).ok());
  }
  ASSERT_TRUE(engine.run_until_idle().ok());
  EXPECT_THAT(order, testing::ElementsAre(3, 0, 2, 1));
}

}  // namespace
}  // namespace octet
