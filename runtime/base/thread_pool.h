// A fixed set of threads that share the tasks of one loop at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <thread>
#include <vector>

namespace octet {

// parallel_for() hands tasks out one by one, so uneven tasks and uneven threads balance themselves. The caller works,
// too. A worker without work spins for a moment, then sleeps. No allocation after construction. An exception that
// leaves a task leaves parallel_for(), too, once no task runs any more; of several, one.
//
// Thread safety: one thread uses a pool at a time, and a task never calls parallel_for() of its own pool. Everything
// that a task wrote is visible to the caller when parallel_for() returns.
class ThreadPool {
 public:
  // `num_threads` counts the calling thread; 0: num_available_cpus() (runtime/base/host_limits.h).
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls function(int64_t task, int thread) for every task in [0, num_tasks), in any order, thread in [0,
  // num_threads()); the caller is thread 0. A single task runs in the caller without waking anyone. REQUIRES: num_tasks
  // < 2^32.
  template <typename Function>
  void parallel_for(int64_t num_tasks, const Function& function) {
    run({[](const void* context, int64_t task, int thread) { (*static_cast<const Function*>(context))(task, thread); },
         &function},
        num_tasks);
  }

 private:
  struct Call {
    void (*invoke)(const void* context, int64_t task, int thread) = nullptr;
    const void* context = nullptr;
  };

  void run(Call call, int64_t num_tasks);
  void close();
  // Claims and runs tasks of the current loop until none is left.
  void work(int thread);
  void run_task(const Call& call, int64_t task, int thread);
  void worker_main(int thread);
  // Waits until a loop other than number `seen` has begun, or the pool is closing.
  void wait_for_loop(uint32_t seen);

  // The loop's number in the high half, its unclaimed tasks in the low half, in one word: claiming a task proves that
  // the loop is still the one whose description was read, so that a thread that comes late needs no waiting for.
  std::atomic<uint64_t> state_{0};
  std::atomic<uint32_t> num_tasks_{0};
  std::atomic<void (*)(const void*, int64_t, int)> invoke_{nullptr};
  std::atomic<const void*> context_{nullptr};
  alignas(64) std::atomic<uint32_t> unfinished_{0};
  alignas(64) std::atomic<uint32_t> loop_number_{0};  // what sleeping workers wait on
  std::atomic<bool> closing_{false};
  std::atomic<bool> has_failed_{false};  // a task of this loop has thrown
  std::exception_ptr failure_;           // what the first of them threw; read when the loop is over
  std::vector<std::thread> workers_;
};

}  // namespace octet
