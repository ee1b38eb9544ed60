// The engine's thread and the calls that it is given: what ends them, and what it tells.
#include "runtime/engine/engine_thread.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <future>

#include "tests/engine/requests.h"

namespace octet {
namespace {

using ::testing::HasSubstr;
using Clock = EngineCall::Clock;

constexpr std::chrono::seconds kPatience{60};

// A call that waits for its end.
class TestCall final : public EngineCall {
 public:
  explicit TestCall(Request asked) : request_(std::move(asked)) {}

  Clock::time_point ends = Clock::time_point::max();
  std::optional<Clock::time_point> limit;
  std::atomic<bool> abandoned = false;
  std::function<void()> after_token = [] {};

  Request take_request() override { return std::move(request_); }
  bool ended() const override { return abandoned; }
  Clock::time_point deadline() const override { return ends; }
  void on_deadline() override {
    ++num_deadlines;
    abandoned = true;
  }
  std::optional<Clock::time_point> time_limit() const override { return limit; }
  void on_refusal(const Status& status) override { refused_.set_value(status); }
  bool on_token(const TokenEvent&) override {
    ++num_tokens;
    after_token();
    return false;
  }
  void on_finish(const FinishEvent& event) override {
    done_ = true;
    finished_.set_value(event);
  }
  void on_prompt_logprobs(const PromptTokenEvent&) override {}
  bool done() const override { return done_; }

  FinishEvent wait() { return wait_for(finished_); }
  Status wait_for_refusal() { return wait_for(refused_); }

  int num_tokens = 0, num_deadlines = 0;  // read behind wait()

 private:
  template <typename T>
  static T wait_for(std::promise<T>& promise) {
    auto future = promise.get_future();
    OCTET_CHECK(future.wait_for(kPatience) == std::future_status::ready, "the call has not ended");
    return future.get();
  }

  const Request request_;
  bool done_ = false;
  std::promise<FinishEvent> finished_;
  std::promise<Status> refused_;
};

class TestObserver final : public EngineObserver {
 public:
  void on_step(const StepFacts& facts, const EngineStats&) override { num_tokens += facts.num_tokens; }
  void on_failure(const Status& status) override { failure.set_value(status); }
  std::atomic<int64_t> num_tokens = 0;
  std::promise<Status> failure;
};

class EngineThreadTest : public ::testing::Test {
 protected:
  FakeRunner runner_{{}};
  TestObserver observer_;
  EngineThread thread_{runner_, {}, observer_};
};

TEST_F(EngineThreadTest, CallsAreAnsweredAsTheirRequestsAloneWouldBe) {
  std::vector<std::shared_ptr<TestCall>> calls;
  for (int64_t i = 0; i < 8; ++i) {
    calls.push_back(std::make_shared<TestCall>(make_request(5 + i, 10 + i, static_cast<uint64_t>(i))));
    thread_.submit(calls.back());
  }
  for (int64_t i = 0; i < 8; ++i) {
    const FinishEvent end = calls[static_cast<size_t>(i)]->wait();
    EXPECT_EQ(end.reason, FinishReason::kLength);
    EXPECT_EQ(end.num_output_tokens, 10 + i);
    EXPECT_EQ(calls[static_cast<size_t>(i)]->num_tokens, 10 + i);
  }
}

TEST_F(EngineThreadTest, WhatTheEngineDoesNotTakeIsTold) {
  const auto call = std::make_shared<TestCall>(Request{});
  thread_.submit(call);
  const Status status = call->wait_for_refusal();
  EXPECT_EQ(status.code(), StatusCode::kInvalidInput);
  EXPECT_THAT(status.message(), HasSubstr("no tokens"));
}

TEST_F(EngineThreadTest, ACallThatNobodyWaitsForIsDropped) {
  const auto call = std::make_shared<TestCall>(make_request(5, 900));
  call->after_token = [&] { call->abandoned = true; };
  thread_.submit(call);
  EXPECT_EQ(call->wait().reason, FinishReason::kCancelled);
  EXPECT_EQ(call->num_tokens, 1);
  EXPECT_EQ(call->num_deadlines, 0);
}

TEST_F(EngineThreadTest, ADeadlineIsToldAndATimeLimitEndsWithWhatHasCome) {
  const auto late = std::make_shared<TestCall>(make_request(5, 900));
  late->ends = Clock::now();
  const auto limited = std::make_shared<TestCall>(make_request(5, 900));
  limited->limit = Clock::now();
  thread_.submit(late);
  thread_.submit(limited);
  EXPECT_EQ(late->wait().reason, FinishReason::kCancelled);
  EXPECT_EQ(late->num_deadlines, 1);
  EXPECT_EQ(limited->wait().reason, FinishReason::kTimeLimit);
  EXPECT_EQ(limited->num_deadlines, 0);
}

TEST(EngineThread, AFailedModelEndsEveryCallAndTheThread) {
  FakeRunner runner({});
  runner.fail_from_step = 3;
  TestObserver observer;
  EngineThread thread(runner, {}, observer);
  const auto call = std::make_shared<TestCall>(make_request(5, 900));
  thread.submit(call);
  const FinishEvent end = call->wait();
  EXPECT_EQ(end.reason, FinishReason::kError);
  EXPECT_THAT(end.status.message(), HasSubstr("rank 1 is lost"));
  auto failure = observer.failure.get_future();
  ASSERT_EQ(failure.wait_for(kPatience), std::future_status::ready);
  EXPECT_THAT(failure.get().message(), HasSubstr("rank 1 is lost"));
}

}  // namespace
}  // namespace octet
