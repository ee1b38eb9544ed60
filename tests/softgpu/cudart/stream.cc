#include "tests/softgpu/cudart/stream.h"

#include <cstdio>

#include "tests/softgpu/cudart/ledger.h"

namespace octet::softgpu {

void Completion::finish() {
  std::lock_guard lock(mutex_);
  if (done_) return;
  done_ = true;
  time_ = std::chrono::steady_clock::now();
  changed_.notify_all();
}

void Completion::wait() const {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return done_; });
}

bool Completion::done() const {
  std::lock_guard lock(mutex_);
  return done_;
}

Completed Stream::push(Task task, std::vector<Completed> after, std::vector<Completed> within) {
  auto done = std::make_shared<Completion>();
  tail = done;
  std::lock_guard lock(mutex_);
  queue_.push_back({std::move(task), std::move(after), std::move(within), done});
  if (!started_) {
    started_ = true;
    // The thread keeps the stream alive.
    std::thread([self = shared_from_this()] { self->serve(); }).detach();
  }
  changed_.notify_one();
  return done;
}

void Stream::close() {
  std::lock_guard lock(mutex_);
  closing_ = true;
  changed_.notify_one();
}

void Stream::serve() {
  for (;;) {
    Operation operation;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return !queue_.empty() || closing_; });
      if (queue_.empty()) return;
      operation = std::move(queue_.front());
      queue_.pop_front();
    }
    for (const Completed& c : operation.after) c->wait();
    if (operation.task.work && device.sticky_error() == cudaSuccess) execute(operation.task);
    for (const Completed& c : operation.within) c->finish();
    operation.done->finish();
  }
}

void Stream::execute(const Task& task) {
  try {
    task.work();
    record(api::Stage::kExecuted, device.index, task.kind(), task.bytes);
  } catch (const DeviceFault& fault) {
    device.set_error(cudaError_t(fault.code), fault.what());
  } catch (const std::exception& e) {
    device.set_error(cudaErrorUnknown, e.what());
  }
}

Device::Device(int number) : index(number), legacy(std::make_shared<Stream>(*this, true)) {}

int Device::count() {
  static const int n = int(environment("SOFTGPU_DEVICES", 1));
  return n;
}

Device& Device::get(int index) {
  static std::vector<std::unique_ptr<Device>>& devices = *[] {
    auto* list = new std::vector<std::unique_ptr<Device>>;
    for (int i = 0; i < count(); ++i) list->push_back(std::make_unique<Device>(i));
    return list;
  }();
  return *devices.at(std::size_t(index));
}

cudaError_t Device::enqueue(Stream& stream, Task task, std::vector<Completed> after, Completed* done,
                            std::vector<Completed> within) {
  Completed completed;
  {
    std::lock_guard lock(mutex);
    if (Capture* capture = stream.capture.get()) {
      if (capture->invalid) return cudaErrorStreamCaptureInvalidated;
      const std::size_t node = capture->graph->nodes.size();
      capture->graph->nodes.push_back({std::move(task), stream.capture_tail, node});
      stream.capture_tail = {node};
      return cudaSuccess;
    }
    if (&stream == legacy.get()) {
      // The legacy default stream waits for all blocking streams, and they for it.
      for (const auto& other : streams) {
        if (!other->blocking || !other->tail) continue;
        if (other->capture) return cudaErrorStreamCaptureImplicit;
        after.push_back(other->tail);
      }
    } else if (stream.blocking && legacy->tail) {
      after.push_back(legacy->tail);
    }
    record(api::Stage::kCalled, index, task.kind(), task.bytes);
    completed = stream.push(std::move(task), std::move(after), std::move(within));
    if (done) *done = completed;
  }
  static const bool launch_blocking = environment("CUDA_LAUNCH_BLOCKING", 0);
  if (launch_blocking) completed->wait();
  return cudaSuccess;
}

void Device::synchronize() {
  std::vector<Completed> tails;
  {
    std::lock_guard lock(mutex);
    if (legacy->tail) tails.push_back(legacy->tail);
    for (const auto& s : streams)
      if (s->tail) tails.push_back(s->tail);
  }
  for (const Completed& tail : tails) tail->wait();
}

cudaError_t Device::sticky_error() {
  std::lock_guard lock(error_mutex_);
  return error_;
}

void Device::set_sticky(cudaError_t error) {
  std::lock_guard lock(error_mutex_);
  error_ = error;
}

void Device::set_error(cudaError_t error, const std::string& message) {
  std::lock_guard lock(error_mutex_);
  std::fflush(stdout);
  std::fprintf(stderr, "softgpu: device %d: %s\n", index, message.c_str());
  if (error_ == cudaSuccess) error_ = error;
}

namespace {
std::mutex capture_mutex;
std::set<std::shared_ptr<Capture>> captures;
}  // namespace

void register_capture(const std::shared_ptr<Capture>& capture, bool begins) {
  std::lock_guard lock(capture_mutex);
  if (begins)
    captures.insert(capture);
  else
    captures.erase(capture);
}

cudaStreamCaptureMode& thread_capture_mode() {
  thread_local cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  return mode;
}

bool capture_forbids_unsafe_calls() {
  const cudaStreamCaptureMode mode = thread_capture_mode();
  if (mode == cudaStreamCaptureModeRelaxed) return false;
  std::lock_guard lock(capture_mutex);
  for (const auto& c : captures) {
    if (c->mode == cudaStreamCaptureModeGlobal && mode == cudaStreamCaptureModeGlobal) return true;
    if (c->mode != cudaStreamCaptureModeRelaxed && c->owner == std::this_thread::get_id()) return true;
  }
  return false;
}

}  // namespace octet::softgpu
