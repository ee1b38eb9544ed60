// A model whose steps a test can hold back or slow down.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "runtime/model/model_runner.h"

namespace octet::testing {

// Thread-safe where ModelRunner is not: the gate is worked by the test's thread.
class GatedRunner final : public ModelRunner {
 public:
  explicit GatedRunner(ModelRunner& model) : model_(model) {}

  // No step begins until open().
  void close() { set(true); }
  void open() { set(false); }
  // Waits until a step has come to the closed gate.
  void await_step() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return waiting_; });
  }
  // Every step takes so much longer.
  void slow_down(std::chrono::microseconds delay) {
    const std::lock_guard lock(mutex_);
    delay_ = delay;
  }
  // The next step fails.
  void fail_next() {
    const std::lock_guard lock(mutex_);
    fails_ = true;
  }

  int64_t max_rows() const override { return model_.max_rows(); }
  int64_t max_logit_rows() const override { return model_.max_logit_rows(); }
  int64_t num_pages() const override { return model_.num_pages(); }
  int64_t num_groups() const override { return model_.num_groups(); }
  int64_t vocab_size() const override { return model_.vocab_size(); }
  int64_t max_context() const override { return model_.max_context(); }
  Status begin(const StepPlan& plan) override {
    std::chrono::microseconds delay{0};
    {
      std::unique_lock lock(mutex_);
      waiting_ = true;
      changed_.notify_all();
      changed_.wait(lock, [this] { return !closed_; });
      waiting_ = false;
      if (fails_) return failed("the model was told to fail");
      delay = delay_;
    }
    if (delay.count() > 0) std::this_thread::sleep_for(delay);
    return model_.begin(plan);
  }
  Result<StepResult> wait() override { return model_.wait(); }

 private:
  void set(bool closed) {
    const std::lock_guard lock(mutex_);
    closed_ = closed;
    changed_.notify_all();
  }

  ModelRunner& model_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool closed_ = false;
  bool waiting_ = false;
  bool fails_ = false;
  std::chrono::microseconds delay_{0};
};

}  // namespace octet::testing
