// RestartWindow: whether and when a service that failed is started again. No clock of its own.
#pragma once

#include <chrono>
#include <deque>
#include <optional>
#include <string>

namespace octet {

class RestartWindow {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::minutes kWindow{10};
  static constexpr std::chrono::seconds kFirstPause{1}, kLongestPause{30};

  // At most so many restarts within kWindow; 0: none at all.
  explicit RestartWindow(int most) : most_(most) {}

  // The service failed, for a reason in one line. Returns the pause before it is started again, twice as long as the
  // one before where that was within the window; none: it has failed too often.
  std::optional<std::chrono::seconds> failed(const std::string& why, Time now);
  // Restarts in the window, the one that failed() granted last included.
  int num_restarts() const { return static_cast<int>(failures_.size()); }
  // How it came to the last failure, in one line: the failures in the window and when they were.
  std::string story(Time now) const;

 private:
  struct Failure {
    Time when;
    std::string why;
  };

  int most_;
  std::deque<Failure> failures_;  // in the window
};

}  // namespace octet
