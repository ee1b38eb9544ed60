#include "runtime/service/work_queue.h"

#include <sys/resource.h>

#include <algorithm>
#include <utility>

namespace octet {
namespace {

constexpr int kNicenessOfLarge = 5;  // whoever has sent much can wait; the engine, and what is cheap, need not

}  // namespace

WorkQueue::WorkQueue(const WorkQueueOptions& options) : options_(options) {
  for (const bool only_cheap : {false, true}) {
    threads_.emplace_back([this, only_cheap](const std::stop_token& stop) { run(stop, only_cheap); });
  }
}

bool WorkQueue::post(int64_t num_bytes, std::function<void()> work) {
  const std::lock_guard lock(mutex_);
  if (std::ssize(cheap_) + std::ssize(large_) >= options_.max_items) return false;
  if (num_bytes_ > 0 && num_bytes_ + num_bytes > options_.max_bytes) return false;  // alone everything has room
  num_bytes_ += num_bytes;
  Items& list = num_bytes <= kCheapBytes ? cheap_ : large_;
  list.emplace(num_bytes + num_posted_++ * kHeadStartBytes, Item{num_bytes, std::move(work)});
  available_.notify_all();  // one alone might be the thread that takes only the other kind
  return true;
}

WorkQueue::Items* WorkQueue::next_list(bool only_cheap) {
  if (large_.empty() || only_cheap) return cheap_.empty() ? nullptr : &cheap_;
  const bool cheap_first = !cheap_.empty() && cheap_.begin()->first <= large_.begin()->first;
  return cheap_first ? &cheap_ : &large_;
}

void WorkQueue::run(const std::stop_token& stop, bool only_cheap) {
  // Of this thread alone: Linux keeps the niceness by thread.
  const int niceness = only_cheap ? options_.niceness : std::max(options_.niceness, kNicenessOfLarge);
  if (niceness != 0) setpriority(PRIO_PROCESS, 0, niceness);
  std::unique_lock lock(mutex_);
  for (;;) {
    Items* list = nullptr;
    available_.wait(lock, stop, [&] { return (list = next_list(only_cheap)) != nullptr; });
    if (list == nullptr) return;
    auto item = list->extract(list->begin()).mapped();
    lock.unlock();
    item.work();
    item.work = {};  // what it holds goes before its bytes are free
    lock.lock();
    num_bytes_ -= item.num_bytes;
  }
}

}  // namespace octet
