#include "comm/nccl_context.h"

#include <chrono>
#include <thread>

#include "comm/waiter.h"

namespace octet {
namespace {

// For the watchdog to find out who is gone, after a peer's end was noticed here.
constexpr std::chrono::seconds kTimeForWatchdog{4};
constexpr std::chrono::milliseconds kBetweenChecks{5};

}  // namespace

NcclCommunicator::~NcclCommunicator() {
  if (!aborted_) ncclCommDestroy(comm_);
}

void NcclCommunicator::abort() {
  std::call_once(aborted_once_, [this] {
    aborted_ = true;
    ncclCommAbort(comm_);
  });
}

NcclContext::FreeEvents::~FreeEvents() {
  for (const cudaEvent_t event : events) cudaEventDestroy(event);
}

void NcclContext::rest_if_stopped() const {
  while (stopped_) std::this_thread::sleep_for(std::chrono::seconds(1));
}

CudaEvent NcclContext::take_event() {
  cudaEvent_t event = nullptr;
  if (free_events_->events.empty()) {
    check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "making an event");
  } else {
    event = free_events_->events.back();
    free_events_->events.pop_back();
  }
  return {event, [home = free_events_](cudaEvent_t free) { home->events.push_back(free); }};
}

// Records an event on the stream; the result says whether it was reached.
std::function<bool()> NcclContext::record(cudaStream_t stream, unsigned flags) {
  CudaEvent event = take_event();
  check(cudaEventRecordWithFlags(event.get(), stream, flags), "recording an event");
  return [this, event] {
    const cudaError_t state = cudaEventQuery(event.get());
    if (state != cudaErrorNotReady) check(state, "asking an event");
    return state == cudaSuccess;
  };
}

void NcclContext::enqueue(Stream& stream, const CollectiveQueue::Collective& collective,
                          const std::function<ncclResult_t(cudaStream_t)>& operation) {
  rest_if_stopped();
  use_device();
  const auto native = static_cast<cudaStream_t>(stream.native_handle());
  CollectiveQueue::Collective here = queue_.at_this_place(collective);
  const ncclResult_t result = operation(native);
  if (result != ncclSuccess) check(result, queue_.describe_next(here));
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(native, &capture), "asking a stream");
  const bool captured = capture == cudaStreamCaptureStatusActive;
  here.done = record(native, captured ? cudaEventRecordExternal : cudaEventRecordDefault);
  if (!stream.at_replay([this, here] { queue_.enter(here); })) queue_.enter(here);
}

void NcclContext::wait(Stream& stream, const std::function<void()>& check_now) {
  use_device();
  const auto all_done = record(static_cast<cudaStream_t>(stream.native_handle()), cudaEventRecordDefault);
  Waiter waiter(/*core_to_itself=*/false);
  auto next_check = std::chrono::steady_clock::now() + kBetweenChecks;
  while (!all_done()) {
    rest_if_stopped();
    queue_.follow();
    if (const auto now = std::chrono::steady_clock::now(); now >= next_check) {
      check_now();
      next_check = now + kBetweenChecks;
    }
    waiter.pause();
  }
  queue_.follow();
}

void NcclContext::check(ncclResult_t result, const std::string& what) {
  if (result == ncclSuccess || result == ncclInProgress) return;
  if (result == ncclRemoteError) std::this_thread::sleep_for(kTimeForWatchdog);
  fail_(Status(StatusCode::kRankLost, fmt::format("NCCL: {}: {}", what, ncclGetErrorString(result))));
}

void NcclContext::check(cudaError_t result, const std::string& what) {
  if (result == cudaSuccess) return;
  const std::string oldest = queue_.describe_oldest();
  fail_(failed("CUDA: {}{}{}: {}", what, oldest.empty() ? "" : " behind ", oldest, cudaGetErrorString(result)));
}

}  // namespace octet
