// EngineThread: the one thread that owns the engine. Others hand it calls; it steps while there is work and sleeps
// otherwise.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "runtime/engine/engine.h"
#include "runtime/service/grpc/generation_call.h"

namespace octet {

// What the thread tells others. Called by it; a call's end is told after the client was.
class EngineObserver {
 public:
  virtual ~EngineObserver() = default;
  virtual void on_step(const StepFacts& facts, const EngineStats& stats) = 0;
  virtual void on_token(GenerationCall& call, const TokenEvent& event) = 0;
  virtual void on_sample(const GenerationCall& call, const FinishEvent& event) = 0;
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

  // Takes a parsed call. Never waits.
  void submit(std::shared_ptr<GenerationCall> call);
  // As of the last step or submission.
  EngineStats stats() const;

 private:
  using Calls = std::map<RequestId, std::shared_ptr<GenerationCall>>;

  Status run(const std::stop_token& stop);  // until it is told to stop, or cannot go on
  bool take_submitted(const std::stop_token& stop);
  void start(const std::shared_ptr<GenerationCall>& call);
  void on_finish(GenerationCall& call, const FinishEvent& event);
  void cancel_ended();
  // The engine's, and the time that this thread takes between its steps.
  EngineStats current_stats() const;
  void publish();

  Engine engine_;
  EngineObserver& observer_;
  Calls calls_;                                    // in the engine
  GenerationCall::Clock::time_point round_begin_;  // of a step and what goes with it, once there is work
  double service_seconds_ = 0;                     // of all rounds, apart from the engine's steps

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable_any work_;
  std::vector<std::shared_ptr<GenerationCall>> submitted_;
  EngineStats stats_;

  std::jthread thread_;
};

}  // namespace octet
