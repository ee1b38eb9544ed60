// Waiting of threads that do something every so often until they are stopped.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>

namespace octet {

// Waits for so long, or until a stop is requested; whether one was.
inline bool stops_within(const std::stop_token& stop, std::chrono::milliseconds time) {
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any never;
  return never.wait_for(lock, stop, time, [&stop] { return stop.stop_requested(); });
}

}  // namespace octet
