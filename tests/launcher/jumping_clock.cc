// A library to be preloaded: the program's wall clock is a day early, right, and a day late in turn, for a quarter of a
// second each. Its other clocks are the system's.
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

namespace {

timespec wall_clock() {
  timespec monotonic{}, now{};
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &monotonic);
  syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
  constexpr time_t kDay = 86'400;
  const time_t quarter = monotonic.tv_sec * 4 + monotonic.tv_nsec / 250'000'000;
  now.tv_sec += (quarter % 3 - 1) * kDay;
  return now;
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* now) noexcept {
  if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)
    return static_cast<int>(syscall(SYS_clock_gettime, clock, now));
  *now = wall_clock();
  return 0;
}

int gettimeofday(timeval* now, void*) noexcept {
  const timespec exact = wall_clock();
  *now = {exact.tv_sec, exact.tv_nsec / 1000};
  return 0;
}

time_t time(time_t* now) noexcept {
  const time_t seconds = wall_clock().tv_sec;
  if (now != nullptr) *now = seconds;
  return seconds;
}
}
