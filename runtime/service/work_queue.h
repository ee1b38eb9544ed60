// WorkQueue: a few threads for work that takes longer than a callback of gRPC may, such as encoding a long prompt.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

namespace octet {

struct WorkQueueOptions {
  int64_t max_items = 0;  // that wait; more are refused
  int64_t max_bytes = 0;  // of what waits or is being done, together; one alone may be larger
  int niceness = 0;       // of the threads: with more of it they leave the processors to others, such as the engine's
};

// Cheap work goes first: what is not begun is taken in the order of its bytes, but each thing that came later counts
// kHeadStartBytes more, so that nothing waits for ever. Two threads do it, one of which takes only cheap work: what is
// cheap never waits for what is not. Thread-safe. Destroying it waits until everything is done.
class WorkQueue {
 public:
  static constexpr int64_t kCheapBytes = 16 << 10;  // work of at most so many bytes is cheap
  static constexpr int64_t kHeadStartBytes = 4096;

  explicit WorkQueue(const WorkQueueOptions& options);

  // Whether the queue had room for `work`, which stands for so many bytes. Never waits.
  bool post(int64_t num_bytes, std::function<void()> work);

 private:
  struct Item {
    int64_t num_bytes = 0;
    std::function<void()> work;
  };
  using Items = std::multimap<int64_t, Item>;  // by rank: the smallest is the next

  void run(const std::stop_token& stop, bool only_cheap);
  // The next item's list; null where there is none. Under mutex_.
  Items* next_list(bool only_cheap);

  const WorkQueueOptions options_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable_any available_;
  Items cheap_, large_;
  int64_t num_bytes_ = 0;
  int64_t num_posted_ = 0;
  std::vector<std::jthread> threads_;
};

}  // namespace octet
