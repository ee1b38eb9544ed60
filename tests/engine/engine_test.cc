#include "runtime/engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/engine/requests.h"

namespace octet {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Status submit_error(const Request& request, const FakeRunnerOptions& options = {}) {
  FakeRunner runner(options);
  Engine engine(runner);
  return engine.submit(request, {}).status();
}

TEST(Engine, StopsAtMaxTokens) {
  for (const int64_t max_tokens : {1, 2, 63, 64, 65, 200}) {
    Recorder recorder = run_alone(make_request(100, max_tokens));
    EXPECT_EQ(std::ssize(recorder.tokens()), max_tokens);
    EXPECT_EQ(recorder.finish(), FinishReason::kLength);
    EXPECT_EQ(recorder.samples[0].announced, FinishReason::kLength);
    EXPECT_EQ(recorder.samples[0].num_prompt_tokens, 100);
  }
}

TEST(Engine, UnsetMaxTokensGoesToTheEndOfTheContext) {
  Request request = make_request(100, 1);
  request.params.max_tokens.reset();
  Recorder recorder = run_alone(request, {.num_pages = 10, .max_context = 300});
  EXPECT_EQ(std::ssize(recorder.tokens()), 200);
  EXPECT_EQ(recorder.finish(), FinishReason::kLength);
  // Fewer pages than the context would need.
  EXPECT_EQ(std::ssize(run_alone(request, {.num_pages = 4, .max_context = 300}).tokens()), 156);
}

TEST(Engine, EosAndStopTokensEndTheOutput) {
  const std::vector<TokenId> free_run = run_alone(make_request(50, 100)).tokens();
  for (const size_t end : {0U, 5U, 60U}) {
    const auto first =
        static_cast<size_t>(std::find(free_run.begin(), free_run.end(), free_run[end]) - free_run.begin());
    const std::vector<TokenId> expected(free_run.begin(), free_run.begin() + static_cast<ptrdiff_t>(first) + 1);
    Request request = make_request(50, 100);
    request.eos_ids = {free_run[end]};
    Recorder by_eos = run_alone(request);
    EXPECT_EQ(by_eos.tokens(), expected);
    EXPECT_EQ(by_eos.finish(), FinishReason::kEos);
    request.params.ignore_eos = true;
    EXPECT_EQ(run_alone(request).tokens(), free_run);
    request.params.stop_token_ids = {free_run[end]};
    Recorder by_stop = run_alone(request);
    EXPECT_EQ(by_stop.tokens(), expected);
    EXPECT_EQ(by_stop.finish(), FinishReason::kStop);
  }
}

TEST(Engine, NoEndTokenComesBeforeMinTokens) {
  Request request = make_request(50, 100);
  for (TokenId id = 0; id < 20; ++id) request.eos_ids.push_back(id);
  for (TokenId id = 20; id < 39; ++id) request.params.stop_token_ids.push_back(id);
  request.params.min_tokens = 17;
  Recorder recorder = run_alone(request);
  ASSERT_GE(recorder.tokens().size(), 18U);
  for (size_t i = 0; i < 17; ++i) EXPECT_EQ(recorder.tokens()[i], 39);
  EXPECT_NE(recorder.tokens().back(), 39);
}

TEST(Engine, TheClientCanStopTheOutput) {
  const std::vector<TokenId> free_run = run_alone(make_request(50, 100)).tokens();
  FakeRunner runner({});
  Engine engine(runner);
  Recorder recorder;
  recorder.on_token = [](const TokenEvent& event) { return event.output_index == 7; };
  ASSERT_TRUE(engine.submit(make_request(50, 100), recorder.callbacks()).ok());
  ASSERT_TRUE(engine.run_until_idle().ok());
  EXPECT_EQ(recorder.tokens(), std::vector<TokenId>(free_run.begin(), free_run.begin() + 8));
  EXPECT_EQ(recorder.finish(), FinishReason::kStop);
}

TEST(Engine, EachSampleIsWhatItWouldBeAlone) {
  for (const int64_t prompt_size : {1, 63, 64, 65, 150}) {
    Request request = make_request(prompt_size, 90, 5);
    request.params.num_samples = 5;
    Recorder together = run_alone(request);
    EXPECT_EQ(together.num_finished, 5);
    for (int32_t sample = 0; sample < 5; ++sample) {
      Request single = make_request(prompt_size, 90, 5);
      single.first_sample_index = sample;
      EXPECT_EQ(together.samples[sample].tokens, run_alone(single).tokens()) << "sample " << sample;
      EXPECT_EQ(together.samples[sample].finish, FinishReason::kLength);
    }
    EXPECT_NE(together.samples[0].tokens, together.samples[1].tokens);
  }
}

TEST(Engine, SamplesShareThePromptsPages) {
  FakeRunner runner({.num_pages = 100});
  Engine engine(runner);
  Recorder recorder;
  Request request = make_request(10 * kPageTokens + 5, 20);
  request.params.num_samples = 8;
  ASSERT_TRUE(engine.submit(request, recorder.callbacks()).ok());
  while (recorder.samples[7].tokens.size() < 5) ASSERT_TRUE(*engine.step());
  EXPECT_EQ(engine.stats().num_pages_used, 10 + 8);
  // The prompt once, and for each further sample the tokens of its partial page.
  EXPECT_LT(engine.stats().num_rows, 10 * kPageTokens + 5 + 8 * 20);
  ASSERT_TRUE(engine.run_until_idle().ok());
  EXPECT_EQ(engine.stats().num_pages_used, 0);
}

TEST(Engine, AResumedOutputGoesOnAsIfNeverCut) {
  Request request = make_request(70, 60, 9);
  request.params.sampling.frequency_penalty = 0.7;
  request.params.sampling.repetition_penalty = 1.2;
  request.params.min_tokens = 30;
  const std::vector<TokenId> whole = run_alone(request).tokens();
  request.eos_ids = {whole[10]};  // banned at first, and so never drawn there
  const std::vector<TokenId> with_eos = run_alone(request).tokens();
  ASSERT_GT(with_eos.size(), 30U);
  for (const ptrdiff_t cut : {ptrdiff_t{1}, ptrdiff_t{20}, std::ssize(with_eos) - 1}) {
    Request resumed = request;
    resumed.resumed_output.assign(with_eos.begin(), with_eos.begin() + cut);
    EXPECT_EQ(run_alone(resumed).tokens(), std::vector<TokenId>(with_eos.begin() + cut, with_eos.end())) << cut;
  }
}

TEST(Engine, GivesTheLogitsOfPromptPositions) {
  Request all = make_request(150, 3);
  all.all_prompt_logits = true;
  Recorder everything = run_alone(all);
  ASSERT_EQ(everything.prompt_logits.size(), 150U);
  EXPECT_EQ(everything.tokens(), run_alone(make_request(150, 3)).tokens());

  Request some = make_request(150, 0);
  some.prompt_logit_positions = {0, 5, 63, 64, 120};
  Recorder listed = run_alone(some);
  EXPECT_EQ(listed.finish(), FinishReason::kLength);
  EXPECT_TRUE(listed.tokens().empty());
  ASSERT_EQ(listed.prompt_logits.size(), 5U);
  for (const auto& [position, logits] : listed.prompt_logits) {
    EXPECT_EQ(logits, everything.prompt_logits[position]) << "position " << position;
  }
}

TEST(Engine, LogprobsComeWithEachToken) {
  Request request = make_request(30, 20);
  request.params.sampling.temperature = 0;
  request.params.logprobs = 3;
  FakeRunner runner({});
  Engine engine(runner);
  Recorder recorder;
  int num_checked = 0;
  auto callbacks = recorder.callbacks();
  callbacks.on_token = [&num_checked](const TokenEvent& event) {
    EXPECT_EQ(event.logprobs->top.size(), 3U);
    EXPECT_EQ(event.logprobs->top[0].token_id, event.token_id);  // greedy
    EXPECT_EQ(event.logprobs->top[0].logprob, event.logprobs->chosen);
    ++num_checked;
    return false;
  };
  ASSERT_TRUE(engine.submit(request, callbacks).ok());
  ASSERT_TRUE(engine.run_until_idle().ok());
  EXPECT_EQ(num_checked, 20);
}

TEST(Engine, CancelFreesThePagesInTheNextStep) {
  FakeRunner runner({});
  Engine engine(runner);
  Recorder cancelled;
  Recorder neighbour;
  Request request = make_request(100, 500, 3);
  request.params.num_samples = 3;
  const RequestId id = *engine.submit(request, cancelled.callbacks());
  ASSERT_TRUE(engine.submit(make_request(40, 100, 4), neighbour.callbacks()).ok());
  for (int step = 0; step < 20; ++step) ASSERT_TRUE(*engine.step());
  engine.cancel(id);
  ASSERT_TRUE(*engine.step());
  EXPECT_EQ(engine.stats().num_running, 1);
  EXPECT_EQ(engine.stats().num_pages_used, 1);
  EXPECT_EQ(cancelled.num_finished, 3);
  EXPECT_EQ(cancelled.finish(), FinishReason::kCancelled);
  engine.cancel(id);    // already gone
  engine.cancel(9999);  // never was
  ASSERT_TRUE(engine.run_until_idle().ok());
  EXPECT_EQ(neighbour.tokens(), run_alone(make_request(40, 100, 4)).tokens());
}

TEST(Engine, ACallbackMayCancelAndSubmit) {
  FakeRunner runner({});
  Engine engine(runner);
  Recorder first;
  Recorder second;
  RequestId id = 0;
  first.on_token = [&](const TokenEvent& event) {
    if (event.output_index == 3) {
      engine.cancel(id);
      EXPECT_TRUE(engine.submit(make_request(20, 10, 2), second.callbacks()).ok());
    }
    return false;
  };
  id = *engine.submit(make_request(100, 50), first.callbacks());
  ASSERT_TRUE(engine.run_until_idle().ok());
  EXPECT_EQ(first.tokens().size(), 4U);
  EXPECT_EQ(first.finish(), FinishReason::kCancelled);
  EXPECT_EQ(second.tokens(), run_alone(make_request(20, 10, 2)).tokens());
}

TEST(Engine, AFailedRunnerEndsEveryRequest) {
  for (const auto part : {FakeRunner::Part::kBegin, FakeRunner::Part::kWait}) {
    FakeRunner runner({});
    runner.fails_in = part;
    runner.fail_from_step = 5;
    Engine engine(runner, {.max_batch = 1});
    std::vector<Recorder> recorders(3);
    for (Recorder& recorder : recorders) ASSERT_TRUE(engine.submit(make_request(20, 50), recorder.callbacks()).ok());
    EXPECT_THAT(engine.run_until_idle().message(), HasSubstr("rank 1"));
    for (Recorder& recorder : recorders) {
      EXPECT_EQ(recorder.finish(), FinishReason::kError);
      EXPECT_THAT(recorder.samples[0].status.message(), HasSubstr("rank 1"));
    }
    EXPECT_EQ(engine.stats().num_pages_used, 0);
  }
}

TEST(Engine, AStepWithoutMemoryEndsItsRequestsAndNothingElse) {
  for (const auto part : {FakeRunner::Part::kBegin, FakeRunner::Part::kWait}) {
    FakeRunner runner({});
    runner.fails_in = part;
    Engine engine(runner);
    Recorder lost;
    ASSERT_TRUE(engine.submit(make_request(20, 50), lost.callbacks()).ok());
    for (int step = 0; step < 5; ++step) ASSERT_TRUE(engine.step().ok());
    runner.lacks_memory = true;
    const Result<bool> stepped = engine.step();
    ASSERT_TRUE(stepped.ok()) << stepped.status().message();
    EXPECT_FALSE(*stepped);
    EXPECT_EQ(lost.finish(), FinishReason::kError);
    EXPECT_THAT(lost.samples[0].status.message(), HasSubstr("out of memory"));
    EXPECT_EQ(engine.stats().num_pages_used, 0);
    engine.check_invariant();
    Recorder next;
    ASSERT_TRUE(engine.submit(make_request(20, 50), next.callbacks()).ok());
    ASSERT_TRUE(engine.run_until_idle().ok());
    EXPECT_EQ(next.tokens(), run_alone(make_request(20, 50)).tokens());
  }
}

TEST(Engine, LogitsThatAreNotFiniteEndOneRequestOnly) {
  FakeRunner runner({});
  runner.nan_from_step = 10;
  Engine engine(runner);
  Recorder broken;
  Recorder neighbour;
  ASSERT_TRUE(engine.submit(make_request(20, 50, 1), broken.callbacks()).ok());
  ASSERT_TRUE(engine.submit(make_request(30, 11, 2), neighbour.callbacks()).ok());
  while (neighbour.num_finished == 0) ASSERT_TRUE(engine.step().ok());
  EXPECT_EQ(broken.finish(), FinishReason::kError);
  EXPECT_THAT(broken.samples[0].status.message(), HasSubstr("not finite"));
}

TEST(Engine, NamesWhatIsWrongWithARequest) {
  const FakeRunnerOptions options{.num_pages = 4, .max_context = 200};
  const auto spoilt = [](auto spoil) {
    Request request = make_request(20, 10);
    spoil(request);
    return request;
  };
  EXPECT_EQ(submit_error(make_request(150, 50), options).message(), "");
  EXPECT_THAT(submit_error(make_request(150, 51), options).message(),
              AllOf(HasSubstr("150"), HasSubstr("51"), HasSubstr("200")));
  EXPECT_THAT(submit_error(make_request(201, 1), options).message(), AllOf(HasSubstr("201"), HasSubstr("200")));
  EXPECT_THAT(submit_error(make_request(0, 1)).message(), HasSubstr("no tokens"));
  EXPECT_THAT(submit_error(make_request(5, 0)).message(), HasSubstr("max_tokens 0"));
  EXPECT_THAT(submit_error(make_request(5, -3)).message(), HasSubstr("max_tokens -3"));
  const std::vector<std::pair<Request, const char*>> cases = {
      {spoilt([](Request& r) { r.prompt[7] = 40; }), "prompt [7]: token 40 is not in [0, 40)"},
      {spoilt([](Request& r) { r.prompt[7] = -1; }), "token -1"},
      {spoilt([](Request& r) { r.params.num_samples = 0; }), "num_samples 0"},
      {spoilt([](Request& r) { r.params.num_samples = 1'000'000; }), "num_samples 1000000"},
      {spoilt([](Request& r) { r.params.min_tokens = 11; }), "min_tokens 11 is not in [0, 10]"},
      {spoilt([](Request& r) { r.params.logprobs = 1000; }), "logprobs 1000"},
      {spoilt([](Request& r) { r.params.stop_token_ids = {40}; }), "stop_token_ids [0]: token 40"},
      {spoilt([](Request& r) { r.params.sampling.top_p = 0; }), "top_p 0"},
      {spoilt([](Request& r) {
         r.prompt_logit_positions = {3, 20};
       }),
       "logit position 20"},
      {spoilt([](Request& r) {
         r.prompt_logit_positions = {3, 3};
       }),
       "logit position 3"},
      {spoilt([](Request& r) { r.resumed_output.assign(10, 1); }), "resumed output tokens: 10"},
      {spoilt([](Request& r) { r.prompt_logprobs = 21; }), "prompt_logprobs 21 is not in [0, 20]"},
      {spoilt([](Request& r) {
         r.prompt_logprobs = 1;
         r.prompt_logit_positions = {3};
       }),
       "prompt_logprobs 1: not beside"},
      {spoilt([](Request& r) { r.priority = 101; }), "priority 101 is not in [-100, 100]"},
  };
  for (const auto& [request, message] : cases) {
    const Status status = submit_error(request);
    EXPECT_EQ(status.code(), StatusCode::kInvalidInput);
    EXPECT_THAT(status.message(), HasSubstr(message));
  }
}

}  // namespace
}  // namespace octet
