// TokenBucket: how often something may happen.
#pragma once

#include <algorithm>
#include <chrono>
#include <limits>

namespace octet {

// `most` at once, `rate` a second from then on. One thread at a time.
class TokenBucket {
 public:
  using Clock = std::chrono::steady_clock;

  // `most_owed`: what is taken beyond it is forgiven.
  TokenBucket(double most, double rate, double most_owed = std::numeric_limits<double>::infinity())
      : most_(most), rate_(rate), most_owed_(most_owed), level_(most) {}

  // Takes so many, which may be more than there are; how long to wait until there is one again.
  Clock::duration take(double amount, Clock::time_point now = Clock::now()) {
    fill(now);
    level_ = std::max(level_ - amount, -most_owed_);
    if (level_ >= 0) return Clock::duration::zero();
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(-level_ / rate_));
  }

  bool is_full(Clock::time_point now = Clock::now()) {
    fill(now);
    return level_ >= most_;
  }

 private:
  void fill(Clock::time_point now) {
    if (now <= filled_at_) return;
    level_ = std::min(most_, level_ + std::chrono::duration<double>(now - filled_at_).count() * rate_);
    filled_at_ = now;
  }

  double most_, rate_, most_owed_, level_;
  Clock::time_point filled_at_ = Clock::now();
};

}  // namespace octet
