#include "runtime/base/thread_pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <numeric>
#include <set>

#include "runtime/base/host_limits.h"

namespace octet {
namespace {

class ThreadPoolTest : public testing::TestWithParam<int> {};

TEST_P(ThreadPoolTest, RunsEveryTaskOnceOnAKnownThread) {
  ThreadPool pool(GetParam());
  EXPECT_EQ(pool.num_threads(), GetParam());
  for (const int64_t num_tasks : {0, 1, 2, 3, 17, 1000}) {
    std::vector<int> runs(static_cast<size_t>(num_tasks), 0);
    std::vector<int> threads(static_cast<size_t>(num_tasks), -1);
    pool.parallel_for(num_tasks, [&](int64_t task, int thread) {
      ++runs[static_cast<size_t>(task)];
      threads[static_cast<size_t>(task)] = thread;
    });
    for (const int count : runs) EXPECT_EQ(count, 1);
    for (const int thread : threads) {
      EXPECT_GE(thread, 0);
      EXPECT_LT(thread, pool.num_threads());
    }
  }
}

TEST_P(ThreadPoolTest, LoopsInQuickSuccessionSeeOnlyTheirOwnFunction) {
  ThreadPool pool(GetParam());
  for (int64_t loop = 0; loop < 5000; ++loop) {
    const int64_t num_tasks = 1 + loop % 7;
    std::array<int64_t, 7> results{};
    pool.parallel_for(num_tasks, [&](int64_t task, int) { results[static_cast<size_t>(task)] += loop * 10 + task; });
    for (int64_t task = 0; task < num_tasks; ++task) ASSERT_EQ(results[static_cast<size_t>(task)], loop * 10 + task);
  }
}

TEST_P(ThreadPoolTest, WakesWorkersThatFellAsleep) {
  ThreadPool pool(GetParam());
  for (int loop = 0; loop < 5; ++loop) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    std::atomic<int> sum{0};
    pool.parallel_for(100, [&](int64_t task, int) { sum += static_cast<int>(task); });
    EXPECT_EQ(sum.load(), 4950);
  }
}

TEST_P(ThreadPoolTest, WaitsForATaskThatTakesLong) {
  ThreadPool pool(GetParam());
  std::atomic<int> finished{0};
  pool.parallel_for(4, [&](int64_t task, int) {
    if (task == 0 || task == 3) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    ++finished;
  });
  EXPECT_EQ(finished.load(), 4);
}

TEST_P(ThreadPoolTest, AnExceptionReachesTheCallerWhenNoTaskRunsAnyMore) {
  ThreadPool pool(GetParam());
  for (int loop = 0; loop < 100; ++loop) {
    std::atomic<int> running{0};
    const auto task = [&running](int64_t number, int) {
      ++running;
      std::this_thread::yield();
      --running;
      if (number % 3 == 1) throw std::bad_alloc();
    };
    EXPECT_THROW(pool.parallel_for(20, task), std::bad_alloc);
    EXPECT_EQ(running.load(), 0);
    std::atomic<int> finished{0};
    pool.parallel_for(20, [&finished](int64_t, int) { ++finished; });
    EXPECT_EQ(finished.load(), 20);
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolTest, testing::Values(1, 2, 3, 8));

TEST(ThreadPool, TasksRunOnSeveralThreads) {
  ThreadPool pool(3);
  std::atomic<int> arrived{0};
  // Three tasks that wait for one another can only end on three threads.
  pool.parallel_for(3, [&](int64_t, int) {
    ++arrived;
    while (arrived.load() < 3) std::this_thread::yield();
  });
  EXPECT_EQ(arrived.load(), 3);
}

TEST(ThreadPool, ZeroMeansAllCpusThatMayBeUsed) { EXPECT_EQ(ThreadPool(0).num_threads(), num_available_cpus()); }

}  // namespace
}  // namespace octet
