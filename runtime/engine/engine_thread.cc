#include "runtime/engine/engine_thread.h"

#include <utility>

#include "runtime/base/out_of_memory.h"

namespace octet {

EngineThread::EngineThread(ModelRunner& runner, const EngineOptions& options, EngineObserver& observer)
    : engine_(runner, options), observer_(observer), stats_(engine_.stats()) {
  thread_ = std::jthread([this](const std::stop_token& stop) {
    const Status status = or_out_of_memory([&] { return run(stop); });
    if (!status.ok()) observer_.on_failure(status);
  });
}

EngineThread::~EngineThread() {
  thread_.request_stop();
  thread_.join();
}

void EngineThread::submit(std::shared_ptr<EngineCall> call) {
  const std::lock_guard lock(mutex_);
  submitted_.push_back(std::move(call));
  work_.notify_one();
}

EngineStats EngineThread::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

Status EngineThread::run(const std::stop_token& stop) {
  while (take_submitted(stop)) {
    cancel_ended();
    const Result<bool> stepped = engine_.step();
    std::erase_if(calls_, [](const auto& entry) { return entry.second->done(); });
    publish();
    if (!stepped.ok()) return stepped.status();
    observer_.on_step(engine_.last_step(), current_stats());
    const std::chrono::duration<double> round = Clock::now() - round_begin_;
    service_seconds_ += round.count() - engine_.last_step().seconds.total();
  }
  return ok_status();
}

// Waits for work if there is none; whether to go on.
bool EngineThread::take_submitted(const std::stop_token& stop) {
  std::vector<std::shared_ptr<EngineCall>> taken;
  {
    std::unique_lock lock(mutex_);
    if (calls_.empty()) work_.wait(lock, stop, [this] { return !submitted_.empty(); });
    if (stop.stop_requested()) return false;
    round_begin_ = Clock::now();
    taken.swap(submitted_);
  }
  for (const auto& call : taken) start(call);
  if (!taken.empty()) publish();
  return true;
}

void EngineThread::start(const std::shared_ptr<EngineCall>& call) {
  if (call->ended()) return;
  EngineCall& known = *call;
  RequestCallbacks callbacks;
  callbacks.on_token = [&known](const TokenEvent& event) { return known.on_token(event); };
  callbacks.on_finish = [&known](const FinishEvent& event) { known.on_finish(event); };
  callbacks.on_prompt_logprobs = [&known](const PromptTokenEvent& event) { known.on_prompt_logprobs(event); };
  const auto id = or_out_of_memory([&] { return engine_.submit(known.take_request(), std::move(callbacks)); });
  if (id.ok()) {
    calls_[*id] = call;
  } else {
    known.on_refusal(id.status());
  }
}

// Nobody waits for these any more, or their time is over: the next step frees their pages first of all.
void EngineThread::cancel_ended() {
  const auto now = Clock::now();
  for (const auto& [id, call] : calls_) {
    if (now >= call->deadline()) call->on_deadline();
    if (call->ended()) {
      engine_.cancel(id);
    } else if (const auto limit = call->time_limit(); limit && now >= *limit) {
      engine_.cancel(id, FinishReason::kTimeLimit);
    }
  }
}

EngineStats EngineThread::current_stats() const {
  EngineStats stats = engine_.stats();
  stats.seconds.service = service_seconds_;
  return stats;
}

void EngineThread::publish() {
  const std::lock_guard lock(mutex_);
  stats_ = current_stats();
}

}  // namespace octet
