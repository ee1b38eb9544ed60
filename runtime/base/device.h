// Where memory is, and where work is enqueued. Operations on one stream run in the order they were enqueued; a backend
// without asynchronous execution (the CPU) has done the work when the call returns.
#pragma once

#include <chrono>
#include <functional>

namespace octet {

// Whose memory a backend's tensors live in, for those who move them from rank to rank.
enum class MemoryKind { kHost, kCuda };

class Stream {
 public:
  virtual ~Stream() = default;
  // Blocks the host until all enqueued work is done.
  virtual void synchronize() = 0;
  // What is enqueued here from now on starts after all that is on `other` (a stream of the same device) so far. While
  // `other` is being captured this stream takes part, and must be waited for by `other` before the capture ends.
  virtual void wait_for(Stream& /*other*/) {}
  // The device's own handle of the stream (CUDA: its cudaStream_t), for what enqueues work beside the backend; null
  // where there is none.
  virtual void* native_handle() { return nullptr; }
  // Seconds that what `enqueue` enqueues here takes, from when the stream comes to it; waits for it.
  virtual double time(const std::function<void()>& enqueue) {
    synchronize();
    const auto begin = std::chrono::steady_clock::now();
    enqueue();
    synchronize();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  // While the stream's work is being captured for replays (Backend::capture): keeps `host_work`, which each replay runs
  // on the host before the device's work, and returns true. Otherwise returns false.
  virtual bool at_replay(std::function<void()> /*host_work*/) { return false; }
};

class HostStream final : public Stream {
 public:
  void synchronize() override {}
};

}  // namespace octet
