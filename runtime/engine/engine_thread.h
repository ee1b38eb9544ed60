// EngineThread: the one thread that owns the engine. Others hand it calls; it steps while there is work and sleeps
// otherwise.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "runtime/engine/engine.h"

namespace octet {

// A request of the engine's thread, and whoever hears of it. Called by that thread.
class EngineCall {
 public:
  using Clock = SampleTimes::Clock;

  virtual ~EngineCall() = default;
  // What is asked; it leaves with its tokens. Called once.
  virtual Request take_request() = 0;
  // Whether nobody waits for it any more: it is dropped before the next step.
  virtual bool ended() const = 0;
  // When nobody waits any more; then it is told, and ended.
  virtual Clock::time_point deadline() const = 0;
  virtual void on_deadline() = 0;
  // When its samples are to finish as kTimeLimit, if ever.
  virtual std::optional<Clock::time_point> time_limit() const = 0;
  // The engine does not take it: what Engine::submit said.
  virtual void on_refusal(const Status& status) = 0;
  // As RequestCallbacks.
  virtual bool on_token(const TokenEvent& event) = 0;
  virtual void on_finish(const FinishEvent& event) = 0;
  virtual void on_prompt_logprobs(const PromptTokenEvent& event) = 0;
  // Whether all its samples have finished.
  virtual bool done() const = 0;
};

// What the thread tells others. Called by it.
class EngineObserver {
 public:
  virtual ~EngineObserver() = default;
  virtual void on_step(const StepFacts& facts, const EngineStats& stats) = 0;
  // The model has failed, and every call with it; the thread is at its end.
  virtual void on_failure(const Status& status) = 0;
};

// Thread safety: any thread may call submit and stats.
class EngineThread {
 public:
  // The runner is the thread's alone until it is destroyed.
  EngineThread(ModelRunner& runner, const EngineOptions& options, EngineObserver& observer);
  // Leaves what is under way unfinished: calls end before this, or never.
  ~EngineThread();

  // Takes a call. Never waits.
  void submit(std::shared_ptr<EngineCall> call);
  // As of the last step or submission.
  EngineStats stats() const;

 private:
  using Clock = EngineCall::Clock;
  using Calls = std::map<RequestId, std::shared_ptr<EngineCall>>;

  Status run(const std::stop_token& stop);  // until it is told to stop, or cannot go on
  bool take_submitted(const std::stop_token& stop);
  void start(const std::shared_ptr<EngineCall>& call);
  void cancel_ended();
  // The engine's, and the time that this thread takes between its steps.
  EngineStats current_stats() const;
  void publish();

  Engine engine_;
  EngineObserver& observer_;
  Calls calls_;                    // in the engine
  Clock::time_point round_begin_;  // of a step and what goes with it, once there is work
  double service_seconds_ = 0;     // of all rounds, apart from the engine's steps

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable_any work_;
  std::vector<std::shared_ptr<EngineCall>> submitted_;
  EngineStats stats_;

  std::jthread thread_;
};

}  // namespace octet
