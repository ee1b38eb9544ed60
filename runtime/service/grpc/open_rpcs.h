// OpenRpcs: the generating RPCs that gRPC still holds: some of their answers may be on the way although the calls have
// ended.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>

namespace octet {

// An RPC whose client may read slowly.
class OpenRpc {
 public:
  using Clock = std::chrono::steady_clock;
  virtual ~OpenRpc() = default;
  // Gives the client up if it has read nothing for so long although something waits for it.
  virtual void drop_if_stalled(Clock::duration limit) = 0;
};

// Thread-safe.
class OpenRpcs {
 public:
  void add(OpenRpc& rpc) {
    const std::lock_guard lock(mutex_);
    rpcs_.insert(&rpc);
  }
  // Returns once nobody looks at the RPC any more.
  void remove(OpenRpc& rpc) {
    const std::lock_guard lock(mutex_);
    rpcs_.erase(&rpc);
    if (rpcs_.empty()) empty_.notify_all();
  }
  void drop_stalled(OpenRpc::Clock::duration limit) {
    const std::lock_guard lock(mutex_);
    for (OpenRpc* rpc : rpcs_) rpc->drop_if_stalled(limit);
  }
  // Whether there is none, within `time`.
  bool wait_until_empty(OpenRpc::Clock::duration time) {
    std::unique_lock lock(mutex_);
    return empty_.wait_for(lock, time, [this] { return rpcs_.empty(); });
  }

 private:
  std::mutex mutex_;
  std::condition_variable empty_;
  std::set<OpenRpc*> rpcs_;
};

}  // namespace octet
