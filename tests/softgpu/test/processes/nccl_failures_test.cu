// What goes wrong between ranks, by itself or on demand.

#include "tests/softgpu/test/processes/nccl_ranks.h"

#include <atomic>
#include <chrono>
#include <csignal>
#include <thread>

namespace {

// Whoever notices first tells the others.
std::string output_of(const std::vector<Child>& ranks) {
  std::string all;
  for (const Child& rank : ranks) all += rank.output;
  return all;
}

TEST(SoftgpuNcclFailures, MismatchedCountsAreReported) {
  const auto ranks = run_ranks({}, [](int rank, ncclUniqueId id) {
    ncclComm_t comm;
    NCCL(ncclCommInitRank(&comm, kRanks, id, rank));
    Array<float> x(200);
    NCCL(ncclAllReduce(x, x, rank == 2 ? 128 : 100, ncclFloat, ncclSum, comm, nullptr));
    EXPECT_EQ(cudaStreamSynchronize(nullptr), cudaErrorLaunchFailure);
  });
  expect_all_pass(ranks);
  EXPECT_CONTAINS(output_of(ranks), "mismatch: rank ");
  EXPECT_CONTAINS(output_of(ranks), "AllReduce (number 1) of 128 elements");
}

TEST(SoftgpuNcclFailures, MismatchedOperationsAreReported) {
  const auto ranks = run_ranks({}, [](int rank, ncclUniqueId id) {
    ncclComm_t comm;
    NCCL(ncclCommInitRank(&comm, kRanks, id, rank));
    Array<float> x(400), y(400);
    NCCL(ncclAllReduce(x, y, 100, ncclFloat, ncclSum, comm, nullptr));
    if (rank == 1)
      NCCL(ncclAllGather(x, y, 100, ncclFloat, comm, nullptr));
    else
      NCCL(ncclAllReduce(x, y, 100, ncclFloat, ncclSum, comm, nullptr));
    EXPECT_EQ(cudaStreamSynchronize(nullptr), cudaErrorLaunchFailure);
  });
  expect_all_pass(ranks);
  EXPECT_CONTAINS(output_of(ranks), "mismatch: rank ");
  EXPECT_CONTAINS(output_of(ranks), "AllGather (number 2) of 100 elements");
}

TEST(SoftgpuNcclFailures, ForeignBuffersAreReported) {
  const auto ranks = run_ranks({}, [](int rank, ncclUniqueId id) {
    ncclComm_t comm;
    NCCL(ncclCommInitRank(&comm, kRanks, id, rank));
    Array<float> x(100);
    NCCL(ncclAllReduce(x, x, rank == 0 ? 101 : 100, ncclFloat, ncclSum, comm, nullptr));
    cudaStreamSynchronize(nullptr);
  });
  expect_all_pass(ranks);
  EXPECT_CONTAINS(ranks[0].output, "NCCL send buffer: illegal read of 404 bytes");
}

TEST(SoftgpuNcclFailures, MissingPeerTimesOut) {
  Arrivals ended;
  const auto ranks = run_ranks({}, [&](int rank, ncclUniqueId id) {
    ncclComm_t comm;
    NCCL(ncclCommInitRank(&comm, kRanks, id, rank));
    if (rank == 0) {  // lives, but never takes part
      EXPECT_TRUE(ended.await(kRanks - 1));
      return;
    }
    setenv("SOFTGPU_NCCL_TIMEOUT_S", "1", 1);  // not of the meeting of all
    Array<float> x(10);
    NCCL(ncclAllReduce(x, x, 10, ncclFloat, ncclSum, comm, nullptr));
    EXPECT_EQ(cudaStreamSynchronize(nullptr), cudaErrorLaunchFailure);
    ended.arrive();
  });
  expect_all_pass(ranks);
  EXPECT_CONTAINS(output_of(ranks), "timeout while waiting for rank");
}

ncclResult_t error_of(ncclComm_t comm) {
  ncclResult_t error;
  NCCL(ncclCommGetAsyncError(comm, &error));
  return error;
}

// Waits until the communicator has an error.
ncclResult_t await_error(ncclComm_t comm) {
  while (error_of(comm) == ncclSuccess) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return error_of(comm);
}

const Environment kRecoverable = {{"SOFTGPU_NCCL_FATAL", "0"}};

// One rank's second group fails: an asynchronous error for it and its peers; what follows on the stream waits for
// ncclCommAbort, and the device goes on.
TEST(SoftgpuNcclFailures, FaultOnDemand) {
  for (const auto& [kind, code] : {std::pair{"internal", ncclInternalError}, {"system", ncclSystemError}}) {
    Arrivals past_first;
    expect_all_pass(run_ranks(kRecoverable, [&](int rank, ncclUniqueId id) {
      setenv("SOFTGPU_DEVICES", "4", 1);
      setenv("SOFTGPU_NCCL_FAULT", (std::string("1:2:") + kind).c_str(), 1);
      CUDA(cudaSetDevice(rank));
      ncclComm_t comm;
      cudaStream_t stream;
      cudaEvent_t first, second;
      NCCL(ncclCommInitRank(&comm, kRanks, id, rank));
      CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
      CUDA(cudaEventCreate(&first));
      CUDA(cudaEventCreate(&second));
      Array<float> x(std::vector<float>(100, 1));
      NCCL(ncclAllReduce(x, x, 100, ncclFloat, ncclSum, comm, stream));
      CUDA(cudaEventRecord(first, stream));
      CUDA(cudaEventSynchronize(first));
      EXPECT_EQ(error_of(comm), ncclSuccess);
      past_first.arrive();
      if (rank == 1) EXPECT_TRUE(past_first.await(kRanks));
      NCCL(ncclAllReduce(x, x, 100, ncclFloat, ncclSum, comm, stream));
      CUDA(cudaEventRecord(second, stream));
      EXPECT_EQ(await_error(comm), rank == 1 ? code : ncclRemoteError);
      EXPECT_EQ(ncclAllReduce(x, x, 100, ncclFloat, ncclSum, comm, stream), error_of(comm));
      EXPECT_EQ(cudaEventQuery(second), cudaErrorNotReady);
      NCCL(ncclCommAbort(comm));
      CUDA(cudaEventSynchronize(second));
      EXPECT_EQ(x.host()[0], 4);
    }));
  }
}

// A rank that stalls shows no error; its peers wait for it until somebody aborts.
TEST(SoftgpuNcclFailures, StallOnDemand) {
  expect_all_pass(run_ranks(kRecoverable, [](int rank, ncclUniqueId id) {
    if (rank == 2) setenv("SOFTGPU_NCCL_FAULT", "1:stall", 1);
    ncclComm_t comm;
    cudaEvent_t event;
    NCCL(ncclCommInitRank(&comm, kRanks, id, rank));
    CUDA(cudaEventCreate(&event));
    Array<float> x(100);
    NCCL(ncclAllReduce(x, x, 100, ncclFloat, ncclSum, comm, nullptr));
    CUDA(cudaEventRecord(event));
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_EQ(cudaEventQuery(event), cudaErrorNotReady);
    if (rank == 2) {
      EXPECT_EQ(error_of(comm), ncclSuccess);
    } else {
      EXPECT_EQ(await_error(comm), ncclRemoteError);  // once rank 2 aborts
    }
    NCCL(ncclCommAbort(comm));
    CUDA(cudaEventSynchronize(event));
  }));
}

TEST(SoftgpuNcclFailures, KilledPeerIsARemoteError) {
  const auto ranks = run_ranks(kRecoverable, [](int rank, ncclUniqueId id) {
    if (rank == 3) setenv("SOFTGPU_NCCL_FAULT", "2:kill", 1);
    ncclComm_t comm;
    NCCL(ncclCommInitRank(&comm, kRanks, id, rank));
    Array<float> x(100);
    for (int i = 0; i < 2; ++i) NCCL(ncclAllReduce(x, x, 100, ncclFloat, ncclSum, comm, nullptr));
    EXPECT_EQ(await_error(comm), ncclRemoteError);
    NCCL(ncclCommAbort(comm));
    CUDA(cudaDeviceSynchronize());
  });
  for (int rank = 0; rank < 3; ++rank) EXPECT_TRUE(ranks[rank].passed()) << ranks[rank].output;
  EXPECT_TRUE(WIFSIGNALED(ranks[3].status) && WTERMSIG(ranks[3].status) == SIGKILL);
}

// A communicator that is not blocking can be given up while it waits for its peers.
TEST(SoftgpuNcclFailures, AbortWhileConnecting) {
  expect_all_pass(run_children(1, {}, [](int) {
    ncclUniqueId id;
    NCCL(ncclGetUniqueId(&id));
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclComm_t comm;
    EXPECT_EQ(ncclCommInitRankConfig(&comm, 2, id, 0, &config), ncclInProgress);
    EXPECT_EQ(error_of(comm), ncclInProgress);
    NCCL(ncclCommAbort(comm));
    EXPECT_EQ(ncclCommAbort(comm), ncclInvalidArgument);
  }));
}

// ncclCommAbort does not wait for what else is on the stream.
TEST(SoftgpuNcclFailures, AbortBehindOtherWork) {
  expect_all_pass(run_children(1, {}, [](int) {
    ncclUniqueId id;
    NCCL(ncclGetUniqueId(&id));
    ncclComm_t comm;
    NCCL(ncclCommInitRank(&comm, 1, id, 0));
    static std::atomic<bool> go = false;
    Array<float> x(std::vector<float>(10, 5));
    CUDA(cudaLaunchHostFunc(
        nullptr, [](void*) { go.wait(false); }, nullptr));
    NCCL(ncclAllReduce(x, x, 10, ncclFloat, ncclSum, comm, nullptr));
    NCCL(ncclCommAbort(comm));
    go = true;
    go.notify_all();
    CUDA(cudaDeviceSynchronize());
  }));
}

}  // namespace
