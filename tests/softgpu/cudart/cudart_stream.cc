// CUDA runtime: streams and events.

#include <algorithm>
#include <map>

#include "tests/softgpu/cudart/cudart_internal.h"
#include "tests/softgpu/cudart/ledger.h"

namespace octet::softgpu {
namespace {

Event& event_of(cudaEvent_t handle) {
  if (!handle) throw DeviceFault(cudaErrorInvalidResourceHandle, "null event");
  return *reinterpret_cast<Event*>(handle);
}
struct EventState {
  Completed recorded;
  bool captured;
};
EventState state_of(Event& event) {
  std::lock_guard lock(event.mutex);
  return {event.recorded, event.capture != nullptr};
}

// A synchronising call on a capturing stream is an error that ends the capture.
bool reject_during_capture(Stream& stream) {
  std::lock_guard lock(stream.device.mutex);
  if (!stream.capture) return false;
  stream.capture->invalid = true;
  return true;
}

void unite(std::vector<std::size_t>& into, const std::vector<std::size_t>& more) {
  for (const std::size_t n : more)
    if (std::ranges::find(into, n) == into.end()) into.push_back(n);
}

cudaError_t create_stream(cudaStream_t* handle, unsigned flags) {
  return guarded([&] {
    Device& device = current_device();
    auto stream = std::make_shared<Stream>(device, !(flags & cudaStreamNonBlocking));
    std::lock_guard lock(device.mutex);
    device.streams.push_back(stream);
    *handle = reinterpret_cast<cudaStream_t>(stream.get());
    return cudaSuccess;
  });
}

cudaError_t create_event(cudaEvent_t* handle, unsigned flags) {
  return guarded([&] {
    auto* event = new Event;
    event->timing = !(flags & cudaEventDisableTiming);
    *handle = reinterpret_cast<cudaEvent_t>(event);
    return cudaSuccess;
  });
}

}  // namespace

bool is_valid_stream(cudaStream_t handle) {
  if (u64(handle) <= 2) return true;
  for (int d = 0; d < Device::count(); ++d) {
    Device& device = Device::get(d);
    std::lock_guard lock(device.mutex);
    if (std::ranges::any_of(device.streams, [&](auto& s) { return s.get() == reinterpret_cast<Stream*>(handle); }))
      return true;
  }
  return false;
}

Stream& stream_of(cudaStream_t handle) {
  Device& device = current_device();
  if (handle == nullptr || handle == cudaStreamLegacy) return *device.legacy;
  if (handle == cudaStreamPerThread) {
    thread_local std::map<int, std::shared_ptr<Stream>> per_thread;
    auto& stream = per_thread[device.index];
    if (!stream) {
      stream = std::make_shared<Stream>(device, true);
      std::lock_guard lock(device.mutex);
      device.streams.push_back(stream);
    }
    return *stream;
  }
  if (!is_valid_stream(handle)) throw DeviceFault(cudaErrorInvalidResourceHandle, "not a live stream");
  return *reinterpret_cast<Stream*>(handle);
}

namespace api {

cudaError_t enqueue(cudaStream_t handle, std::string what, std::function<void()> work) {
  return guarded([&] {
    Stream& stream = stream_of(handle);
    return stream.device.enqueue(stream, {std::move(what), std::move(work)});
  });
}

int device_of(cudaStream_t handle) { return stream_of(handle).device.index; }

}  // namespace api
}  // namespace octet::softgpu

using namespace octet::softgpu;

extern "C" {

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return create_stream(stream, cudaStreamDefault); }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) { return create_stream(stream, flags); }
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return create_stream(stream, flags);
}

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  return guarded([&] {
    if (u64(handle) <= 2) return cudaErrorInvalidResourceHandle;
    Stream& stream = stream_of(handle);
    Device& device = stream.device;
    Completed tail;
    {
      std::lock_guard lock(device.mutex);
      tail = stream.tail;
    }
    if (tail) tail->wait();
    stream.close();
    std::lock_guard lock(device.mutex);
    std::erase_if(device.streams, [&](auto& s) { return s.get() == &stream; });
    return cudaSuccess;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  return guarded([&] {
    Stream& stream = stream_of(handle);
    if (reject_during_capture(stream)) return cudaErrorStreamCaptureUnsupported;
    record(api::Stage::kCalled, stream.device.index, "host-wait.stream");
    Completed tail;
    {
      std::lock_guard lock(stream.device.mutex);
      tail = stream.tail;
    }
    // The legacy stream's work follows that of all blocking streams.
    if (&stream == stream.device.legacy.get()) {
      if (const cudaError_t error = stream.device.enqueue(stream, {"synchronize", {}}, {}, &tail); error != cudaSuccess)
        return error;
    }
    if (tail) tail->wait();
    return stream.device.sticky_error();
  });
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
  return guarded([&] {
    Stream& stream = stream_of(handle);
    if (reject_during_capture(stream)) return cudaErrorStreamCaptureUnsupported;
    std::lock_guard lock(stream.device.mutex);
    return !stream.tail || stream.tail->done() ? cudaSuccess : cudaErrorNotReady;
  });
}

cudaError_t cudaStreamGetDevice(cudaStream_t handle, int* device) {
  return guarded([&] { return *device = stream_of(handle).device.index, cudaSuccess; });
}
cudaError_t cudaStreamGetFlags(cudaStream_t handle, unsigned* flags) {
  return guarded(
      [&] { return *flags = stream_of(handle).blocking ? cudaStreamDefault : cudaStreamNonBlocking, cudaSuccess; });
}
cudaError_t cudaStreamGetPriority(cudaStream_t, int* priority) { return *priority = 0, cudaSuccess; }
cudaError_t cudaStreamSetAttribute(cudaStream_t, cudaStreamAttrID, const cudaStreamAttrValue*) { return cudaSuccess; }

cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void* data) {
  return guarded([&] {
    Stream& stream = stream_of(handle);
    return stream.device.enqueue(stream, {"host-function", [=] { function(data); }});
  });
}

cudaError_t cudaStreamAddCallback(cudaStream_t handle, cudaStreamCallback_t callback, void* data, unsigned) {
  return guarded([&] {
    Stream& stream = stream_of(handle);
    return stream.device.enqueue(stream, {"host-function", [=] { callback(handle, cudaSuccess, data); }});
  });
}

// ---- events ----

cudaError_t cudaEventCreate(cudaEvent_t* event) { return create_event(event, cudaEventDefault); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) { return create_event(event, flags); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return guarded([&] { return delete &event_of(event), cudaSuccess; });
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t handle, cudaStream_t stream_handle, unsigned flags) {
  return guarded([&] {
    Event& event = event_of(handle);
    Stream& stream = stream_of(stream_handle);
    Completed done;
    if (const auto capture = stream.capture; capture && flags & cudaEventRecordExternal) {
      return stream.device.enqueue(stream, {.what = "event-record", .work = {}, .event = &event});
    } else if (!capture) {
      const cudaError_t error = stream.device.enqueue(stream, {"event-record", {}}, {}, &done);
      if (error != cudaSuccess) return error;
    }
    std::scoped_lock lock(stream.device.mutex, event.mutex);
    event.capture = stream.capture;
    if (stream.capture)
      event.capture_tail = stream.capture_tail;
    else
      event.recorded = done;
    return cudaSuccess;
  });
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return cudaEventRecordWithFlags(event, stream, 0);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream_handle, cudaEvent_t handle, unsigned) {
  return guarded([&] {
    Event& event = event_of(handle);
    Stream& stream = stream_of(stream_handle);
    Completed recorded;
    {
      std::scoped_lock lock(stream.device.mutex, event.mutex);
      if (event.capture && event.capture->ended) return cudaErrorCapturedEvent;
      if (event.capture) {  // joins the capture in which the event was recorded
        if (stream.capture && stream.capture != event.capture) return cudaErrorStreamCaptureUnsupported;
        stream.capture = event.capture;
        unite(stream.capture_tail, event.capture_tail);
        return cudaSuccess;
      }
      if (stream.capture) return cudaErrorStreamCaptureUnsupported;
      recorded = event.recorded;
    }
    return recorded ? stream.device.enqueue(stream, {"event-wait", {}}, {recorded}) : cudaSuccess;
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  return guarded([&] {
    const auto [recorded, captured] = state_of(event_of(handle));
    if (captured) return cudaErrorStreamCaptureUnsupported;
    record(api::Stage::kCalled, current_device_index(), "host-wait.event");
    if (recorded) recorded->wait();
    return current_device().sticky_error();
  });
}

cudaError_t cudaEventQuery(cudaEvent_t handle) {
  return guarded([&] {
    const auto [recorded, captured] = state_of(event_of(handle));
    if (captured) return cudaErrorStreamCaptureUnsupported;
    return !recorded || recorded->done() ? cudaSuccess : cudaErrorNotReady;
  });
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  return guarded([&] {
    if (!event_of(from).timing || !event_of(to).timing) return cudaErrorInvalidResourceHandle;
    const Completed begin = state_of(event_of(from)).recorded, end = state_of(event_of(to)).recorded;
    if (!begin || !end) return cudaErrorInvalidResourceHandle;
    if (!begin->done() || !end->done()) return cudaErrorNotReady;
    *milliseconds = std::chrono::duration<float, std::milli>(end->time() - begin->time()).count();
    return cudaSuccess;
  });
}

}  // extern "C"
