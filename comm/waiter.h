// Waiter: what to do between two looks at something that is not ready yet.
#pragma once

#include <sys/prctl.h>

#include <algorithm>
#include <chrono>
#include <thread>

namespace octet {

// It looks again at once for a moment, a longer one where every rank has a core to itself. Then it sleeps: a 64th of
// the time waited so far, so sleeping hardly adds to a wait, and at most a millisecond. It never yields: today's
// kernels let who yields wait for the full time slice of whoever else runs there, milliseconds where a collective takes
// microseconds, while who wakes from sleep runs at once.
// One wait: pause() after each look; restart() when something has come and more is missing, or before a new wait.
class Waiter {
 public:
  explicit Waiter(bool core_to_itself) : spin_(core_to_itself ? kSpinOwnCore : kSpinSharedCore) {}

  void restart() { num_pauses_ = 0; }

  void pause() {
    const auto now = Clock::now();
    if (num_pauses_++ == 0) begin_ = now;
    const auto waited = now - begin_;
    if (waited >= spin_) sleep(std::clamp<Clock::duration>(waited / 64, kShortestSleep, kLongestSleep));
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::microseconds kSpinOwnCore{200};
  static constexpr std::chrono::microseconds kSpinSharedCore{20};
  static constexpr std::chrono::microseconds kShortestSleep{20};
  static constexpr std::chrono::microseconds kLongestSleep{1000};

  static void sleep(Clock::duration duration) {
    // Otherwise the kernel may add 50 microseconds to every sleep of this thread.
    static thread_local const int exact = prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0);
    static_cast<void>(exact);
    std::this_thread::sleep_for(duration);
  }

  const Clock::duration spin_;
  int num_pauses_ = 0;
  Clock::time_point begin_;
};

}  // namespace octet
