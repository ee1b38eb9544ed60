// TokenBucket: how often something may happen.
#pragma once

#include <algorithm>
#include <chrono>

namespace octet {

// `most` at once, `rate` a second from then on. One thread at a time.
class TokenBucket {
 public:
  using Clock = std::chrono::steady_clock;

  TokenBucket(double most, double rate) : most_(most), rate_(rate), level_(most) {}

  // Takes so many, which may be more than there are; how long to wait until there is one again.
  Clock::duration take(double amount, Clock::time_point now = Clock::now()) {
    if (now > filled_at_) {
      level_ = std::min(most_, level_ + std::chrono::duration<double>(now - filled_at_).count() * rate_);
      filled_at_ = now;
    }
    level_ -= amount;
    if (level_ >= 0) return Clock::duration::zero();
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(-level_ / rate_));
  }

 private:
  double most_, rate_, level_;
  Clock::time_point filled_at_ = Clock::now();
};

}  // namespace octet
