// WorkQueue: a few threads for work that takes longer than a callback of gRPC may, such as encoding a long prompt.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace octet {

// Thread-safe. Destroying it waits until everything is done.
class WorkQueue {
 public:
  explicit WorkQueue(int num_threads) {
    for (int i = 0; i < num_threads; ++i) {
      threads_.emplace_back([this](const std::stop_token& stop) { run(stop); });
    }
  }

  void post(std::function<void()> work) {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(work));
    available_.notify_one();
  }

  size_t size() const {
    const std::lock_guard lock(mutex_);
    return queue_.size();
  }

 private:
  void run(const std::stop_token& stop) {
    for (;;) {
      std::function<void()> work;
      {
        std::unique_lock lock(mutex_);
        available_.wait(lock, stop, [this] { return !queue_.empty(); });
        if (queue_.empty()) return;
        work = std::move(queue_.front());
        queue_.pop_front();
      }
      work();
    }
  }

  mutable std::mutex mutex_;
  std::condition_variable_any available_;
  std::deque<std::function<void()>> queue_;
  std::vector<std::jthread> threads_;
};

}  // namespace octet
