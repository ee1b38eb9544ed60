// How the benchmarks time: a stopwatch on one of two clocks, and medians.
#pragma once

#include <ctime>

#include <algorithm>
#include <vector>

namespace octet {

// What a benchmark counts as time.
enum class BenchClock {
  kWall,
  // CPU time of the process over its threads: what the wall clock would show if nobody else used the CPUs. For machines
  // that are shared; a thread that sleeps while others work is not seen.
  kCpu,
};

class Stopwatch {
 public:
  Stopwatch(BenchClock clock, int num_threads)
      : clock_(clock == BenchClock::kWall ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID),
        share_(clock == BenchClock::kWall ? 1 : num_threads) {}

  // Seconds that one call takes.
  template <typename Function>
  double time(const Function& function) const {
    const double begin = now();
    function();
    return (now() - begin) / share_;
  }

 private:
  double now() const {
    timespec time{};
    clock_gettime(clock_, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
  }

  clockid_t clock_;
  double share_;
};

// REQUIRES: values is not empty.
inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace octet
