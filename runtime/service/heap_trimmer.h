// HeapTrimmer: memory of past requests goes back to the system.
#pragma once

#include <chrono>
#include <thread>

namespace octet {

// A thread that returns, every so often, the pages that the C library's allocator keeps though nothing is in them: a
// large prompt leaves tens of megabytes in the heap of each thread that has seen one. A pass takes a millisecond or
// two.
class HeapTrimmer {
 public:
  explicit HeapTrimmer(std::chrono::milliseconds interval = std::chrono::seconds(30));

 private:
  std::jthread thread_;
};

}  // namespace octet
