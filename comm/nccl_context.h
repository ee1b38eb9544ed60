// NcclContext: what the NCCL communicators of one rank share: the queue of collectives under way, events, and the way a
// failure goes.
//
// Collectives on asynchronous streams. A call enqueues NCCL's operation and, behind it, an event; it is then `entered`
// (CollectiveQueue). The host goes on without looking until it waits for the stream (CommWorld::wait, at a step's end
// or where it needs counts): there it asks the events in order, so that this rank's place is the oldest collective that
// is not done, and asks the communicators for asynchronous errors. While a stream is being captured, the event becomes
// a node of the graph (cudaEventRecordExternal) and entering is put off to each replay, with the layer and the phase of
// the capture. An event of an earlier replay may still read as recorded for a moment after the next launch; then the
// place runs ahead, but nothing is waited for by these events: the wait ends with one recorded behind everything.
//
// Failures. NCCL says in two ways that something is wrong: a call returns an error, or a communicator has one
// (ncclCommGetAsyncError). That a peer is gone (ncclRemoteError) is a symptom: the watchdog knows within its limits who
// died, so this rank leaves it that time before it ends the job with its own line. What hangs without an error is the
// watchdog's business from the start: it judges by the places above, and ends the process after ncclCommAbort, which
// makes kernels that spin for a peer leave the GPU.
#pragma once

#include <cuda_runtime.h>
#include <nccl.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "comm/collective_queue.h"
#include "comm/comm_world.h"

namespace octet {

// A CUDA event without timing that goes back to its pool.
using CudaEvent = std::shared_ptr<CUevent_st>;

// One NCCL communicator; several groups of the same ranks may share it. Aborted ones are not destroyed: the process is
// about to end.
class NcclCommunicator {
 public:
  explicit NcclCommunicator(ncclComm_t comm) : comm_(comm) {}
  ~NcclCommunicator();
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  ncclComm_t get() const { return comm_; }
  // From any thread, once.
  void abort();

 private:
  ncclComm_t comm_;
  std::once_flag aborted_once_;
  bool aborted_ = false;
};

class NcclContext {
 public:
  // For the device of that index. `fail` does not return.
  NcclContext(int device, CommProgress& progress, std::function<void(const Status&)> fail)
      : device_(device), queue_(progress), fail_(std::move(fail)), free_events_(std::make_shared<FreeEvents>()) {}

  // Enqueues operation(stream) as the collective: entered now, or, where the stream is being captured, at each replay.
  void enqueue(Stream& stream, const CollectiveQueue::Collective& collective,
               const std::function<ncclResult_t(cudaStream_t)>& operation);
  // Blocks until the stream's work is done; calls `check` now and then.
  void wait(Stream& stream, const std::function<void()>& check);

  // Ends the job unless the result is a success (or still in progress): "NCCL: WHAT: why".
  void check(ncclResult_t result, const std::string& what);
  void check(cudaError_t result, const std::string& what);
  CollectiveQueue& queue() { return queue_; }
  // From any thread, before communicators are aborted: the rank's own thread touches them no more and never returns.
  void stop() { stopped_ = true; }
  // Makes the device the calling thread's: a rank's threads start with another.
  void use_device() { check(cudaSetDevice(device_), "choosing the GPU"); }

 private:
  struct FreeEvents {
    ~FreeEvents();
    std::vector<cudaEvent_t> events;
  };

  // The process is about to end.
  void rest_if_stopped() const;
  CudaEvent take_event();
  std::function<bool()> record(cudaStream_t stream, unsigned flags);

  const int device_;
  CollectiveQueue queue_;
  std::function<void(const Status&)> fail_;
  std::shared_ptr<FreeEvents> free_events_;
  std::atomic<bool> stopped_{false};
};

}  // namespace octet
