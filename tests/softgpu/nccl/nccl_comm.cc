#include "tests/softgpu/nccl/nccl_comm.h"

#include <cuda_runtime_api.h>
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <map>

#include "tests/softgpu/cudart/runtime_api.h"
#include "tests/softgpu/nccl/nccl_fault.h"

using namespace octet::softgpu;

namespace {

thread_local std::string last_error;

std::mutex comms_mutex;
std::map<ncclComm_t, std::shared_ptr<ncclComm>>& comms() {
  static auto& live = *new std::map<ncclComm_t, std::shared_ptr<ncclComm>>;  // outlives main
  return live;
}

void record_all(api::Stage stage, int device, const std::vector<Operation>& operations) {
  for (const Operation& op : operations) {
    const bool has_peer = op.kind == Kind::kSend || op.kind == Kind::kReceive;
    api::record(stage, device, (std::string("nccl.") + name_of(op.kind)).c_str(), op.count * size_of(op.type),
                has_peer ? op.peer : api::kNoPeer);
  }
}

}  // namespace

ncclComm::~ncclComm() {
  if (connecting_.joinable()) connecting_.join();
}

ncclResult_t ncclComm::connect() {
  try {
    auto transport = std::make_unique<Transport>(name, ranks, rank, aborting_);
    std::lock_guard lock(mutex_);
    transport_ = std::move(transport);
    error_ = ncclSuccess;
  } catch (const TransportError& e) {
    std::lock_guard lock(mutex_);
    error_ = refuse(ncclSystemError, e.what());
  }
  return error_;
}

void ncclComm::connect_later() {
  error_ = ncclInProgress;
  connecting_ = std::thread([this] { connect(); });
}

ncclResult_t ncclComm::error() {
  std::lock_guard lock(mutex_);
  return error_;
}

std::vector<ncclComm::Choice> ncclComm::exchange_choices(int color, int key) {
  const std::size_t n = std::size_t(ranks), me = std::size_t(rank);
  std::vector<Choice> choices(n);
  choices[me] = {color, key, rank};
  std::lock_guard lock(executing_);
  const MessageHeader header{u32(Kind::kSplit), 0, 1, ++sequence_};
  std::vector<Transfer> transfers;
  for (std::size_t r = 0; r < n; ++r) {
    if (r == me) continue;
    transfers.push_back({true, int(r), header, reinterpret_cast<std::byte*>(&choices[me]), sizeof(Choice)});
    transfers.push_back({false, int(r), header, reinterpret_cast<std::byte*>(&choices[r]), sizeof(Choice)});
  }
  transport_->run(transfers);
  return choices;
}

void ncclComm::execute(const std::vector<Operation>& operations) {
  {
    std::lock_guard lock(mutex_);
    if (aborting_) return;
    ++running_;
  }
  const auto finished = [this] {
    std::lock_guard lock(mutex_);
    --running_;
    changed_.notify_all();
  };
  try {
    run(operations);
  } catch (...) {
    finished();
    throw;
  }
  finished();
}

void ncclComm::run(const std::vector<Operation>& operations) {
  std::lock_guard lock(executing_);
  if (error() != ncclSuccess) return hold();
  try {
    switch (next_fault(device)) {
      case Fault::kNone:
        break;
      case Fault::kInternal:
        return fail(ncclInternalError, "internal error on demand");
      case Fault::kRemote:
        return fail(ncclRemoteError, "remote error on demand");
      case Fault::kSystem:
        return fail(ncclSystemError, "system error on demand");
      case Fault::kStall:
        return hold();
      case Fault::kKill:
        raise(SIGKILL);
    }
    std::vector<Operation> point_to_point;
    for (const Operation& op : operations) {
      if (op.kind == Kind::kSend || op.kind == Kind::kReceive)
        point_to_point.push_back(op);
      else
        run_collective(*transport_, op, ++sequence_);
    }
    if (!point_to_point.empty()) run_point_to_point(*transport_, point_to_point);
    record_all(api::Stage::kExecuted, device, operations);
  } catch (const TransportError& e) {
    if (aborting_) return;  // the program knows
    if (environment("SOFTGPU_NCCL_FATAL", 1)) {
      transport_->abort();
      throw DeviceFault(cudaErrorLaunchFailure, std::string("NCCL: ") + e.what());
    }
    fail(ncclRemoteError, e.what());
  } catch (const DeviceFault&) {
    transport_->abort();  // the peers must not wait for it
    throw;
  }
}

void ncclComm::fail(ncclResult_t error, const std::string& why) {
  {
    std::lock_guard lock(mutex_);
    error_ = error;
  }
  std::fprintf(stderr, "softgpu: NCCL: %s\n", why.c_str());
  transport_->abort();
  hold();
}

void ncclComm::hold() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return aborting_.load(); });
}

void ncclComm::drain() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return running_ == 0; });
}

void ncclComm::abort() {
  {
    std::lock_guard lock(mutex_);
    aborting_ = true;
    if (transport_) transport_->abort();
    changed_.notify_all();
  }
  if (connecting_.joinable()) connecting_.join();
  drain();
  leave();
}

void ncclComm::leave() {
  if (transport_) transport_->leave();
}

namespace octet::softgpu {

ncclResult_t refuse(ncclResult_t code, const std::string& why) {
  std::fprintf(stderr, "softgpu: NCCL: %s\n", why.c_str());
  last_error = why;
  return code;
}

const std::string& last_refusal() { return last_error; }

std::shared_ptr<ncclComm> find_comm(ncclComm_t handle) {
  std::lock_guard lock(comms_mutex);
  const auto it = comms().find(handle);
  return it == comms().end() ? nullptr : it->second;
}

ncclComm_t publish(std::shared_ptr<ncclComm> comm) {
  std::lock_guard lock(comms_mutex);
  const ncclComm_t handle = comm.get();
  comms()[handle] = std::move(comm);
  return handle;
}

void withdraw(ncclComm_t handle) {
  std::lock_guard lock(comms_mutex);
  comms().erase(handle);
}

ncclResult_t submit(const std::shared_ptr<ncclComm>& comm, cudaStream_t stream, std::vector<Operation> operations) {
  if (const ncclResult_t error = comm->error(); error != ncclSuccess) return error;
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  cudaStreamIsCapturing(stream, &status);
  if (status == cudaStreamCaptureStatusNone) record_all(api::Stage::kCalled, comm->device, operations);
  const cudaError_t error =
      api::enqueue(stream, "nccl", [comm, operations = std::move(operations)] { comm->execute(operations); });
  return error == cudaSuccess ? ncclSuccess : ncclUnhandledCudaError;
}

}  // namespace octet::softgpu
