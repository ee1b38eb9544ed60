// Waiter: what to do between two looks at something that is not ready yet.
#pragma once

#include <algorithm>
#include <chrono>
#include <thread>

namespace octet {

// Where every rank has a core to itself it looks again at once, then lets others run between looks; where ranks share
// cores it lets others run from the start, for whoever is waited for may need this core. A long wait sleeps: a
// sixteenth of the time waited so far, so sleeping adds at most that to a wait, and at most a millisecond.
// One wait: pause() after each look; restart() when something has come and more is missing, or before a new wait.
class Waiter {
 public:
  explicit Waiter(bool core_to_itself) : core_to_itself_(core_to_itself) {}

  void restart() { num_pauses_ = 0; }

  void pause() {
    const auto now = Clock::now();
    if (num_pauses_++ == 0) begin_ = now;
    const auto waited = now - begin_;
    if (core_to_itself_ && waited < kSpin) return;
    if (waited < (core_to_itself_ ? kYieldOwnCore : kYieldSharedCore)) return std::this_thread::yield();
    std::this_thread::sleep_for(std::clamp<Clock::duration>(waited / 16, kShortestSleep, kLongestSleep));
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::microseconds kSpin{1000};
  static constexpr std::chrono::microseconds kYieldOwnCore{20'000};
  static constexpr std::chrono::microseconds kYieldSharedCore{200};
  static constexpr std::chrono::microseconds kShortestSleep{20};
  static constexpr std::chrono::microseconds kLongestSleep{1000};

  const bool core_to_itself_;
  int num_pauses_ = 0;
  Clock::time_point begin_;
};

}  // namespace octet
