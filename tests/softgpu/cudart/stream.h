// Streams, events and graphs. Every stream has a host thread that executes its operations in
// order, so the API is as asynchronous as the real one.
#pragma once

#include <driver_types.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/softgpu/base/common.h"

namespace octet::softgpu {

// Becomes done once.
class Completion {
 public:
  void finish();
  void wait() const;
  bool done() const;
  std::chrono::steady_clock::time_point time() const { return time_; }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  bool done_ = false;
  std::chrono::steady_clock::time_point time_;
};
using Completed = std::shared_ptr<Completion>;

// An operation of a stream or a node of a graph.
struct Task {
  std::string what;  // kind, as counted (see ledger.h), and for kernels a space and the name
  std::function<void()> work;
  u64 bytes = 0;
  std::shared_ptr<struct PreparedLaunch> kernel = nullptr;  // of a kernel
  struct Event* event = nullptr;                            // that an event-record node of a graph records
  std::string_view kind() const { return std::string_view(what).substr(0, what.find(' ')); }
};

struct GraphNode {
  Task task;
  std::vector<std::size_t> dependencies;
  std::size_t index = 0;  // in its graph, and in the executable graphs made of it
};

// Operations in the order they were issued, which respects their dependencies.
struct Graph {
  std::deque<GraphNode> nodes;  // a handle of a node is its address
};

struct GraphExec {
  std::deque<GraphNode> nodes;
};

// A stream capture in progress; shared by all streams that take part.
struct Capture {
  std::unique_ptr<Graph> graph = std::make_unique<Graph>();
  cudaStreamCaptureMode mode;
  std::thread::id owner;
  class Stream* origin;
  bool invalid = false, ended = false;
};

class Stream : public std::enable_shared_from_this<Stream> {
 public:
  Stream(class Device& owner, bool synchronises) : device(owner), blocking(synchronises) {}

  Device& device;
  const bool blocking;  // synchronises with the legacy default stream
  std::shared_ptr<Capture> capture;
  std::vector<std::size_t> capture_tail;  // nodes that the next captured operation depends on

  // Device::mutex must be held. `within` are completions that come before the operation's own, at the latest then.
  Completed push(Task task, std::vector<Completed> after, std::vector<Completed> within = {});
  Completed tail;
  // Lets the host thread end once the queue is empty.
  void close();

 private:
  struct Operation {
    Task task;
    std::vector<Completed> after, within;
    Completed done;
  };
  void execute(const Task& task);
  void serve();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Operation> queue_;
  bool started_ = false, closing_ = false;
};

// Thread-safe.
struct Event {
  std::mutex mutex;
  Completed recorded;                // null: never recorded, counts as complete
  std::shared_ptr<Capture> capture;  // recorded in a stream being captured
  std::vector<std::size_t> capture_tail;
  bool timing = true;
};

// A virtual GPU.
class Device {
 public:
  explicit Device(int index);
  static Device& get(int index);
  static int count();

  const int index;
  std::mutex mutex;
  std::shared_ptr<Stream> legacy;
  std::vector<std::shared_ptr<Stream>> streams;  // all others

  // Puts an operation into a stream (or into the graph that captures it).
  cudaError_t enqueue(Stream& stream, Task task, std::vector<Completed> after = {}, Completed* done = nullptr,
                      std::vector<Completed> within = {});
  void synchronize();
  // The first asynchronous error; it stays until cudaDeviceReset.
  cudaError_t sticky_error();
  void set_error(cudaError_t error, const std::string& message);
  void clear_error() { set_sticky(cudaSuccess); }

 private:
  void set_sticky(cudaError_t error);
  std::mutex error_mutex_;
  cudaError_t error_ = cudaSuccess;
};

// This thread's mode (see cudaThreadExchangeStreamCaptureMode).
cudaStreamCaptureMode& thread_capture_mode();
// True if a capture forbids potentially unsafe calls of this thread right now.
bool capture_forbids_unsafe_calls();
void register_capture(const std::shared_ptr<Capture>& capture, bool begins);

}  // namespace octet::softgpu
