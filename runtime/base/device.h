// Where work is enqueued. Operations on one stream run in the order they were enqueued; a backend without asynchronous
// execution (the CPU) has done the work when the call returns.
#pragma once

namespace octet {

class Stream {
 public:
  virtual ~Stream() = default;
  // Blocks the host until all enqueued work is done.
  virtual void synchronize() = 0;
  // The device's own handle of the stream (CUDA: its cudaStream_t), for what enqueues work beside the backend; null
  // where there is none.
  virtual void* native_handle() { return nullptr; }
};

class HostStream final : public Stream {
 public:
  void synchronize() override {}
};

}  // namespace octet
