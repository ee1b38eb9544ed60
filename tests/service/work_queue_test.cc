// Who goes first in a queue of work, and what it has room for.
#include "runtime/service/work_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <vector>

namespace octet::testing {
namespace {

constexpr int64_t kCheap = WorkQueue::kCheapBytes;
constexpr int64_t kLarge = 10 * kCheap;

// A queue whose threads are both held until open().
class HeldQueue {
 public:
  explicit HeldQueue(const WorkQueueOptions& options) : queue_(options) {
    // The thread for anything takes the large one, so that the cheap one is left to the other.
    for (const int64_t bytes : {kLarge, int64_t{1}}) {
      std::promise<void> begun;
      const auto has_begun = begun.get_future();
      EXPECT_TRUE(queue_.post(bytes, [this, &begun] {
        begun.set_value();
        gate_.wait();
      }));
      has_begun.wait();
    }
  }
  ~HeldQueue() { open(); }

  bool post(int64_t num_bytes) {
    return queue_.post(num_bytes, [this, num_bytes] {
      const std::lock_guard lock(mutex_);
      done_.push_back(num_bytes);
    });
  }
  void open() {
    if (!opened_) opener_.set_value();
    opened_ = true;
  }
  std::vector<int64_t> await(size_t count) {
    for (;;) {
      {
        const std::lock_guard lock(mutex_);
        if (done_.size() >= count) return done_;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

 private:
  std::promise<void> opener_;
  std::shared_future<void> gate_ = opener_.get_future().share();
  bool opened_ = false;
  std::mutex mutex_;
  std::vector<int64_t> done_;
  WorkQueue queue_;
};

TEST(WorkQueue, RefusesMoreThanItHasRoomFor) {
  HeldQueue by_items({.max_items = 2, .max_bytes = 1 << 30});
  EXPECT_TRUE(by_items.post(1));
  EXPECT_TRUE(by_items.post(1));
  EXPECT_FALSE(by_items.post(1));
  HeldQueue by_bytes({.max_items = 100, .max_bytes = kLarge + 1 + 1000});
  EXPECT_TRUE(by_bytes.post(600));
  EXPECT_FALSE(by_bytes.post(600));
  EXPECT_TRUE(by_bytes.post(400));
  by_bytes.open();
  by_bytes.await(2);
}

TEST(WorkQueue, HasRoomForAnythingWhereNothingElseIs) {
  WorkQueue queue({.max_items = 1, .max_bytes = 10});
  std::promise<void> done;
  EXPECT_TRUE(queue.post(1000, [&done] { done.set_value(); }));
  done.get_future().wait();
}

TEST(WorkQueue, WhatIsCheapNeverWaitsForWhatIsNot) {
  WorkQueue queue({.max_items = 10, .max_bytes = 1 << 30});
  std::promise<void> gate, cheap;
  const auto opened = gate.get_future().share();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(queue.post(kLarge, [opened] { opened.wait(); }));
  EXPECT_TRUE(queue.post(kCheap, [&cheap] { cheap.set_value(); }));
  cheap.get_future().wait();  // although the others are not done
  gate.set_value();
}

// One thread alone does large work, so that its order can be seen.
TEST(WorkQueue, TakesTheSmallFirstButNothingWaitsForEver) {
  HeldQueue queue({.max_items = 1000, .max_bytes = 1 << 30});
  constexpr int64_t kStep = WorkQueue::kHeadStartBytes;
  std::vector<int64_t> expected;
  EXPECT_TRUE(queue.post(kLarge + 10 * kStep));
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(queue.post(kLarge + i));
  for (int i = 0; i < 9; ++i) expected.push_back(kLarge + i);  // ten later ones would be one too many
  expected.push_back(kLarge + 10 * kStep);
  queue.open();
  auto done = queue.await(21);
  done.resize(expected.size());
  EXPECT_THAT(done, ::testing::ElementsAreArray(expected));
}

}  // namespace
}  // namespace octet::testing
