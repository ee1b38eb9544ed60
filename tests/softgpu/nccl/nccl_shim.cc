// Replacement for NCCL: its API.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <random>
#include <thread>
#include <utility>

#include "tests/softgpu/cudart/runtime_api.h"
#include "tests/softgpu/nccl/nccl_comm.h"

using namespace octet::softgpu;

namespace {

// What this thread has asked for since ncclGroupStart, in the order of its first call on each communicator.
struct Pending {
  std::shared_ptr<ncclComm> comm;
  cudaStream_t stream;
  std::vector<Operation> operations;
};
thread_local int group_depth = 0;
thread_local std::vector<Pending> group_operations;
thread_local std::vector<std::function<ncclResult_t()>> group_initialisations;

ncclResult_t no_communicator() { return refuse(ncclInvalidArgument, "null, destroyed or aborted communicator"); }

ncclResult_t add(ncclComm_t handle, cudaStream_t stream, Operation op) {
  auto comm = find_comm(handle);
  if (!comm) return no_communicator();
  if (op.type < 0 || op.type >= ncclNumTypes) return refuse(ncclInvalidArgument, "invalid data type");
  if (op.peer < 0 || op.peer >= comm->ranks) return refuse(ncclInvalidArgument, format("there is no rank %d", op.peer));
  if (group_depth == 0) return submit(comm, stream, {op});
  auto pending = std::ranges::find(group_operations, comm, &Pending::comm);
  if (pending == group_operations.end())
    pending = group_operations.insert(group_operations.end(), {comm, stream, {}});
  else if (pending->stream != stream)
    return refuse(ncclInvalidUsage, "one group uses several streams of a communicator");
  pending->operations.push_back(op);
  return ncclSuccess;
}

bool is_blocking(const ncclConfig_t* config) { return !config || config->blocking != 0; }

ncclResult_t initialise(ncclComm_t* result, std::shared_ptr<ncclComm> comm, bool blocking) {
  *result = nullptr;
  if (comm->ranks < 1 || comm->rank < 0 || comm->rank >= comm->ranks)
    return refuse(ncclInvalidArgument, format("rank %d of %d", comm->rank, comm->ranks));
  if (!blocking) {
    comm->connect_later();
    *result = publish(comm);
    return ncclInProgress;
  }
  const ncclResult_t error = comm->connect();
  if (error == ncclSuccess) *result = publish(comm);
  return error;
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

ncclResult_t ncclGetVersion(int* version) {
  return *version = int(environment("SOFTGPU_NCCL_VERSION", NCCL_VERSION_CODE)), ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  *id = {};
  std::random_device random;
  std::snprintf(id->internal, sizeof id->internal, "/softgpu-%d-%08x%08x", int(getpid()), random(), random());
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t result) {
  switch (result) {
    case ncclSuccess:
      return "no error";
    case ncclUnhandledCudaError:
      return "unhandled cuda error";
    case ncclSystemError:
      return "unhandled system error";
    case ncclInternalError:
      return "internal error";
    case ncclInvalidArgument:
      return "invalid argument";
    case ncclInvalidUsage:
      return "invalid usage";
    case ncclRemoteError:
      return "remote process exited or there was a network error";
    case ncclInProgress:
      return "NCCL operation in progress";
    default:
      return "unknown result code";
  }
}
const char* ncclGetLastError(ncclComm_t) { return last_refusal().c_str(); }

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank, ncclConfig_t* config) {
  const auto start = [=, device = api::current_device(), blocking = is_blocking(config)] {
    return initialise(comm, std::make_shared<ncclComm>(id.internal, ranks, rank, device), blocking);
  };
  if (group_depth == 0) return start();
  group_initialisations.push_back(start);
  return ncclSuccess;
}
ncclResult_t ncclCommInitRank(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank) {
  return ncclCommInitRankConfig(comm, ranks, id, rank, nullptr);
}
ncclResult_t ncclCommInitAll(ncclComm_t* comms, int count, const int* devices) {
  ncclUniqueId id;
  ncclGetUniqueId(&id);
  ncclGroupStart();
  for (int i = 0; i < count; ++i) {
    const int device = devices ? devices[i] : i;
    group_initialisations.push_back(
        [=] { return initialise(comms + i, std::make_shared<ncclComm>(id.internal, count, i, device), true); });
  }
  return ncclGroupEnd();
}

// The ranks agree on the host, after what they have enqueued.
ncclResult_t ncclCommSplit(ncclComm_t handle, int color, int key, ncclComm_t* result, ncclConfig_t* config) {
  *result = nullptr;
  const auto comm = find_comm(handle);
  if (!comm) return no_communicator();
  if (const ncclResult_t error = comm->error(); error != ncclSuccess) return error;
  cudaDeviceSynchronize();
  std::vector<ncclComm::Choice> choices;
  try {
    choices = comm->exchange_choices(color, key);
  } catch (const TransportError& e) {
    return refuse(ncclRemoteError, e.what());
  }
  if (color == NCCL_SPLIT_NOCOLOR) return ncclSuccess;
  const std::string name = format("%s.%u.%d", comm->name.c_str(), comm->splits++, color);
  std::erase_if(choices, [&](const auto& c) { return c.color != color; });
  std::ranges::stable_sort(choices, {}, &ncclComm::Choice::key);
  const auto self = std::ranges::find(choices, comm->rank, &ncclComm::Choice::rank);
  return initialise(result,
                    std::make_shared<ncclComm>(name, int(choices.size()), int(self - choices.begin()), comm->device),
                    is_blocking(config));
}

ncclResult_t ncclCommFinalize(ncclComm_t handle) {
  const auto comm = find_comm(handle);
  if (!comm) return no_communicator();
  cudaDeviceSynchronize();
  comm->drain();
  return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t handle) {
  if (!handle) return ncclSuccess;
  const auto comm = find_comm(handle);
  if (!comm) return no_communicator();
  cudaDeviceSynchronize();
  comm->drain();
  comm->leave();
  withdraw(handle);
  return ncclSuccess;
}

// What is enqueued does nothing any more; the device goes on with what follows it.
ncclResult_t ncclCommAbort(ncclComm_t handle) {
  if (!handle) return ncclSuccess;
  const auto comm = find_comm(handle);
  if (!comm) return no_communicator();
  comm->abort();
  withdraw(handle);
  return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t handle, ncclResult_t* error) {
  const auto comm = find_comm(handle);
  if (!comm) return no_communicator();
  *error = comm->error();
  return ncclSuccess;
}
ncclResult_t ncclCommCount(const ncclComm_t comm, int* count) { return *count = comm->ranks, ncclSuccess; }
ncclResult_t ncclCommUserRank(const ncclComm_t comm, int* rank) { return *rank = comm->rank, ncclSuccess; }
ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int* device) { return *device = comm->device, ncclSuccess; }

// Registration is only a performance matter.
ncclResult_t ncclCommRegister(const ncclComm_t, void* buffer, std::size_t, void** handle) {
  return *handle = buffer, ncclSuccess;
}
ncclResult_t ncclCommDeregister(const ncclComm_t, void*) { return ncclSuccess; }
ncclResult_t ncclMemAlloc(void** pointer, std::size_t bytes) {
  return cudaMalloc(pointer, bytes) == cudaSuccess ? ncclSuccess : ncclUnhandledCudaError;
}
ncclResult_t ncclMemFree(void* pointer) {
  return cudaFree(pointer) == cudaSuccess ? ncclSuccess : ncclUnhandledCudaError;
}

ncclResult_t ncclGroupStart() { return ++group_depth, ncclSuccess; }

ncclResult_t ncclGroupEnd() {
  if (group_depth == 0) return refuse(ncclInvalidUsage, "ncclGroupEnd without ncclGroupStart");
  if (--group_depth > 0) return ncclSuccess;
  // Communicators of several ranks in one thread find each other only if they start together.
  std::vector<ncclResult_t> results(group_initialisations.size(), ncclSuccess);
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < results.size(); ++i)
      threads.emplace_back([&results, i, start = group_initialisations[i]] { results[i] = start(); });
  }
  group_initialisations.clear();
  for (Pending& pending : std::exchange(group_operations, {}))
    results.push_back(submit(pending.comm, pending.stream, std::move(pending.operations)));
  const auto failed = std::ranges::find_if(results, [](ncclResult_t r) { return r != ncclSuccess; });
  return failed == results.end() ? ncclSuccess : *failed;
}

ncclResult_t ncclSend(const void* send, std::size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return add(comm, stream, {Kind::kSend, send, nullptr, count, type, ncclSum, peer});
}
ncclResult_t ncclRecv(void* receive, std::size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return add(comm, stream, {Kind::kReceive, nullptr, receive, count, type, ncclSum, peer});
}
ncclResult_t ncclAllReduce(const void* send, void* receive, std::size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream) {
  return add(comm, stream, {Kind::kAllReduce, send, receive, count, type, op});
}
ncclResult_t ncclReduceScatter(const void* send, void* receive, std::size_t count, ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t comm, cudaStream_t stream) {
  return add(comm, stream, {Kind::kReduceScatter, send, receive, count, type, op});
}
ncclResult_t ncclAllGather(const void* send, void* receive, std::size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
  return add(comm, stream, {Kind::kAllGather, send, receive, count, type});
}
ncclResult_t ncclBroadcast(const void* send, void* receive, std::size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  return add(comm, stream, {Kind::kBroadcast, send, receive, count, type, ncclSum, root});
}
ncclResult_t ncclBcast(void* buffer, std::size_t count, ncclDataType_t type, int root, ncclComm_t comm,
                       cudaStream_t stream) {
  return ncclBroadcast(buffer, buffer, count, type, root, comm, stream);
}
ncclResult_t ncclReduce(const void* send, void* receive, std::size_t count, ncclDataType_t type, ncclRedOp_t op,
                        int root, ncclComm_t comm, cudaStream_t stream) {
  return add(comm, stream, {Kind::kReduce, send, receive, count, type, op, root});
}
ncclResult_t ncclAlltoAll(const void* send, void* receive, std::size_t count, ncclDataType_t type, ncclComm_t comm,
                          cudaStream_t stream) {
  return add(comm, stream, {Kind::kAlltoAll, send, receive, count, type});
}
ncclResult_t ncclGather(const void* send, void* receive, std::size_t count, ncclDataType_t type, int root,
                        ncclComm_t comm, cudaStream_t stream) {
  return add(comm, stream, {Kind::kGather, send, receive, count, type, ncclSum, root});
}
ncclResult_t ncclScatter(const void* send, void* receive, std::size_t count, ncclDataType_t type, int root,
                         ncclComm_t comm, cudaStream_t stream) {
  return add(comm, stream, {Kind::kScatter, send, receive, count, type, ncclSum, root});
}

}  // extern "C"
#pragma GCC visibility pop
