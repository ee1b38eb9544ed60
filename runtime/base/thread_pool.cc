#include "runtime/base/thread_pool.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "runtime/base/check.h"
#include "runtime/base/host_limits.h"

namespace octet {
namespace {

// How long a thread looks for news before it sleeps: longer than the serial stretches between the loops of a step,
// short against what a sleeping thread costs its neighbours.
constexpr std::chrono::microseconds kSpinTime{60};

// Spins until `done()`; false when the time was up first. Yields now and then: ranks may outnumber CPUs.
template <typename Done>
bool spin_until(const Done& done) {
  const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
  for (;;) {
    for (int i = 0; i < 64; ++i) {
      if (done()) return true;
    }
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
}

}  // namespace

ThreadPool::ThreadPool(int num_threads) {
  const int total = num_threads == 0 ? num_available_cpus() : num_threads;
  OCTET_CHECK(total >= 1, "{} threads", total);
  workers_.reserve(static_cast<size_t>(total - 1));
  try {
    for (int thread = 1; thread < total; ++thread) workers_.emplace_back([this, thread] { worker_main(thread); });
  } catch (...) {  // no more threads are to be had
    close();
    throw;
  }
}

ThreadPool::~ThreadPool() { close(); }

void ThreadPool::close() {
  closing_.store(true);
  loop_number_.fetch_add(1);
  loop_number_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(Call call, int64_t num_tasks) {
  if (num_tasks <= 0) return;
  if (num_tasks == 1 || workers_.empty()) {
    for (int64_t task = 0; task < num_tasks; ++task) call.invoke(call.context, task, 0);
    return;
  }
  OCTET_CHECK(num_tasks <= UINT32_MAX, "{} tasks", num_tasks);
  const auto count = static_cast<uint32_t>(num_tasks);
  const uint32_t number = loop_number_.load(std::memory_order_relaxed) + 1;
  invoke_.store(call.invoke, std::memory_order_relaxed);
  context_.store(call.context, std::memory_order_relaxed);
  num_tasks_.store(count, std::memory_order_relaxed);
  unfinished_.store(count, std::memory_order_relaxed);
  state_.store(static_cast<uint64_t>(number) << 32 | count, std::memory_order_release);
  loop_number_.store(number);
  loop_number_.notify_all();
  work(0);
  const auto done = [this] { return unfinished_.load(std::memory_order_acquire) == 0; };
  while (!spin_until(done)) {
    const uint32_t left = unfinished_.load(std::memory_order_acquire);
    if (left != 0) unfinished_.wait(left, std::memory_order_acquire);
  }
  if (has_failed_.exchange(false)) std::rethrow_exception(std::exchange(failure_, nullptr));
}

// A task counts as finished however it ends: the caller waits for all of them.
void ThreadPool::run_task(const Call& call, int64_t task, int thread) {
  try {
    call.invoke(call.context, task, thread);
  } catch (...) {
    if (!has_failed_.exchange(true)) failure_ = std::current_exception();
  }
}

void ThreadPool::work(int thread) {
  uint64_t state = state_.load(std::memory_order_acquire);
  while (static_cast<uint32_t>(state) != 0) {
    // Tasks are left, so the loop cannot end and its description cannot change unless the exchange below fails.
    const auto invoke = invoke_.load(std::memory_order_relaxed);
    const void* context = context_.load(std::memory_order_relaxed);
    const uint32_t num_tasks = num_tasks_.load(std::memory_order_relaxed);
    if (!state_.compare_exchange_weak(state, state - 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
    run_task({invoke, context}, num_tasks - static_cast<uint32_t>(state), thread);
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
    state = state_.load(std::memory_order_acquire);
  }
}

void ThreadPool::wait_for_loop(uint32_t seen) {
  const auto news = [this, seen] { return loop_number_.load(std::memory_order_acquire) != seen; };
  if (!spin_until(news)) loop_number_.wait(seen, std::memory_order_acquire);
}

void ThreadPool::worker_main(int thread) {
  uint32_t seen = 0;
  while (!closing_.load(std::memory_order_acquire)) {
    wait_for_loop(seen);
    seen = loop_number_.load(std::memory_order_acquire);
    work(thread);
  }
}

}  // namespace octet
