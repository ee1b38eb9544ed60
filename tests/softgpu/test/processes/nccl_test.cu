// The replacement of NCCL across processes.

#include "tests/softgpu/test/processes/nccl_ranks.h"

#include <cuda_bf16.h>

#include <fstream>

namespace {

std::vector<float> values_of(int rank, int n) {
  std::vector<float> v(n);
  for (int i = 0; i < n; ++i) v[i] = float(rank * 100000 + i);
  return v;
}

TEST(SoftgpuNccl, AllToAllWithSendRecv) {
  expect_all_pass(run_ranks({}, [](int rank, ncclUniqueId id) {
    ncclComm_t comm;
    cudaStream_t stream;
    NCCL(ncclCommInitRank(&comm, kRanks, id, rank));
    CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    // Rank r sends 1000 * (r + p + 1) elements to rank p: more than fits a ring buffer.
    const auto count = [](int from, int to) { return 1000 * (from + to + 1) * 20; };
    std::vector<Array<float>*> out, in;
    for (int p = 0; p < kRanks; ++p) {
      out.push_back(new Array<float>(values_of(rank * 10 + p, count(rank, p))));
      in.push_back(new Array<float>(count(p, rank)));
    }
    for (int round = 0; round < 3; ++round) {
      NCCL(ncclGroupStart());
      for (int p = 0; p < kRanks; ++p) {
        NCCL(ncclSend(out[p]->get(), count(rank, p), ncclFloat, p, comm, stream));
        NCCL(ncclRecv(in[p]->get(), count(p, rank), ncclFloat, p, comm, stream));
      }
      NCCL(ncclGroupEnd());
    }
    CUDA(cudaStreamSynchronize(stream));
    for (int p = 0; p < kRanks; ++p) EXPECT_EQ(in[p]->host(), values_of(p * 10 + rank, count(p, rank)));
    ncclResult_t error;
    NCCL(ncclCommGetAsyncError(comm, &error));
    EXPECT_EQ(error, ncclSuccess);
    NCCL(ncclCommDestroy(comm));
  }));
}

TEST(SoftgpuNccl, Collectives) {
  expect_all_pass(run_ranks({}, [](int rank, ncclUniqueId id) {
    ncclComm_t comm;
    NCCL(ncclCommInitRank(&comm, kRanks, id, rank));
    const int n = 1003;
    Array<float> x(values_of(rank, n)), y(n), all(n * kRanks), part(n);
    NCCL(ncclAllReduce(x, y, n, ncclFloat, ncclSum, comm, nullptr));
    CUDA(cudaStreamSynchronize(nullptr));
    auto h = y.host();
    for (int i = 0; i < n; ++i) EXPECT_EQ(h[i], float(600000 + 4 * i));
    NCCL(ncclAllReduce(y, y, n, ncclFloat, ncclAvg, comm, nullptr));  // in place
    h = y.host();
    for (int i = 0; i < n; ++i) EXPECT_EQ(h[i], float(600000 + 4 * i));

    NCCL(ncclAllGather(x, all, n, ncclFloat, comm, nullptr));
    h = all.host();
    for (int r = 0; r < kRanks; ++r)
      for (int i = 0; i < n; ++i) EXPECT_EQ(h[r * n + i], values_of(r, n)[i]);

    NCCL(ncclReduceScatter(all, part, n, ncclFloat, ncclMax, comm, nullptr));
    h = part.host();
    for (int i = 0; i < n; ++i) EXPECT_EQ(h[i], float(rank * 100000 + i));

    NCCL(ncclBroadcast(x, y, n, ncclFloat, 2, comm, nullptr));
    EXPECT_EQ(y.host(), values_of(2, n));
    NCCL(ncclReduce(x, y, n, ncclFloat, ncclMin, 1, comm, nullptr));
    if (rank == 1) {
      EXPECT_EQ(y.host(), values_of(0, n));
    }

    Array<int> a(std::vector<int>{rank * 10, rank * 10 + 1, rank * 10 + 2, rank * 10 + 3}), b(4);
    NCCL(ncclAlltoAll(a, b, 1, ncclInt, comm, nullptr));
    EXPECT_TRUE((b.host() == std::vector<int>{rank, 10 + rank, 20 + rank, 30 + rank}));

    Array<__nv_bfloat16> bf(std::vector<__nv_bfloat16>(64, __float2bfloat16(1.5f + rank)));
    NCCL(ncclAllReduce(bf, bf, 64, ncclBfloat16, ncclSum, comm, nullptr));
    EXPECT_EQ(__bfloat162float(bf.host()[63]), 12.f);
    NCCL(ncclCommDestroy(comm));
  }));
}

TEST(SoftgpuNccl, SplitCommunicators) {
  expect_all_pass(run_ranks({}, [](int rank, ncclUniqueId id) {
    ncclComm_t comm, half;
    NCCL(ncclCommInitRank(&comm, kRanks, id, rank));
    NCCL(ncclCommSplit(comm, rank % 2, -rank, &half, nullptr));  // reversed order
    int size, position;
    NCCL(ncclCommCount(half, &size));
    NCCL(ncclCommUserRank(half, &position));
    EXPECT_TRUE(size == 2 && position == 1 - rank / 2);
    Array<int> x(std::vector<int>{rank}), y(1);
    NCCL(ncclAllReduce(x, y, 1, ncclInt, ncclSum, half, nullptr));
    EXPECT_EQ(y.host()[0], 2 * (rank % 2) + 2);
    NCCL(ncclCommFinalize(half));
    NCCL(ncclCommDestroy(half));
    NCCL(ncclCommDestroy(comm));
  }));
}

__global__ void increment(float* x, int n) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) x[i] += 1;
}

TEST(SoftgpuNccl, CollectivesInAGraph) {
  expect_all_pass(run_ranks({}, [](int rank, ncclUniqueId id) {
    ncclComm_t comm;
    cudaStream_t stream;
    NCCL(ncclCommInitRank(&comm, kRanks, id, rank));
    CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    Array<float> x(std::vector<float>(100, float(rank)));
    CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    increment<<<1, 64, 0, stream>>>(x, 100);
    NCCL(ncclAllReduce(x, x, 100, ncclFloat, ncclSum, comm, stream));
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    CUDA(cudaStreamEndCapture(stream, &graph));
    CUDA(cudaGraphInstantiate(&exec, graph));
    for (int i = 0; i < 2; ++i) CUDA(cudaGraphLaunch(exec, stream));
    CUDA(cudaStreamSynchronize(stream));
    EXPECT_EQ(x.host()[99], 44);  // 0+1+2+3+4 = 10; 4 * 11
    NCCL(ncclCommDestroy(comm));
  }));
}

// ---- counts ----

TEST(SoftgpuNccl, CountsAndTrace) {
  const std::string process = std::to_string(getpid());
  const std::string counts = testing::TempDir() + "softgpu_counts." + process;
  const std::string trace = testing::TempDir() + "softgpu_trace." + process;
  std::remove(counts.c_str());
  std::remove(trace.c_str());
  const auto body = [](int rank, ncclUniqueId id) {
    CUDA(cudaSetDevice(rank));
    ncclComm_t comm;
    cudaStream_t stream;
    NCCL(ncclCommInitRank(&comm, kRanks, id, rank));
    CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    Array<float> x(100);
    CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    NCCL(ncclAllReduce(x, x, 100, ncclFloat, ncclSum, comm, stream));
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    CUDA(cudaStreamEndCapture(stream, &graph));
    CUDA(cudaGraphInstantiate(&exec, graph));
    for (int i = 0; i < 2; ++i) CUDA(cudaGraphLaunch(exec, stream));
    NCCL(ncclAllReduce(x, x, 10, ncclFloat, ncclSum, comm, stream));
    CUDA(cudaStreamSynchronize(stream));
    std::exit(0);  // counts are written by exit handlers
  };
  expect_all_pass(run_ranks({{"SOFTGPU_DEVICES", "4"}, {"SOFTGPU_COUNTS", counts}, {"SOFTGPU_TRACE", trace}}, body));
  const auto lines_of = [](const std::string& path) {
    std::vector<std::string> lines;
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
  };
  const auto totals = lines_of(counts);
  EXPECT_EQ(totals.size(), 4u);
  for (const std::string& line : totals) {
    EXPECT_CONTAINS(line, R"("graph":{"count":2,"bytes":0})");
    EXPECT_CONTAINS(line, R"("nccl.AllReduce":{"count":1,"bytes":40})");   // called
    EXPECT_CONTAINS(line, R"("nccl.AllReduce":{"count":3,"bytes":840})");  // executed
  }
  std::string third;  // rank 2's collectives, in order
  for (const std::string& line : lines_of(trace))
    if (line.find(R"("device":2,"stage":"executed","what":"nccl.AllReduce")") != std::string::npos)
      third += line.substr(line.find(R"("bytes")"));
  EXPECT_EQ(third, R"("bytes":400}"bytes":400}"bytes":40})");
  std::remove(counts.c_str());
  std::remove(trace.c_str());
}

// Waiting must not take the cores from those who work.
TEST(SoftgpuNccl, EightRanksShareTheCores) {
  ncclUniqueId id;
  NCCL(ncclGetUniqueId(&id));
  expect_all_pass(run_children(8, {{"SOFTGPU_DEVICES", "8"}}, [&](int rank) {
    CUDA(cudaSetDevice(rank));
    ncclComm_t comm;
    NCCL(ncclCommInitRank(&comm, 8, id, rank));
    Array<float> x(std::vector<float>(1000, 1)), y(1000);
    for (int i = 0; i < 50; ++i) {
      increment<<<4, 256>>>(x, 1000);
      NCCL(ncclAllReduce(x, y, 1000, ncclFloat, ncclSum, comm, nullptr));
    }
    EXPECT_EQ(y.host()[0], 8 * (1 + 50));
    EXPECT_EQ(y.host()[999], 8 * (1 + 50));
    NCCL(ncclCommDestroy(comm));
  }));
}

// ---- one process, several devices ----

TEST(SoftgpuNccl, SingleProcessTwoDevices) {
  expect_all_pass(run_children(1, {{"SOFTGPU_DEVICES", "2"}}, [](int) {
    int devices;
    CUDA(cudaGetDeviceCount(&devices));
    EXPECT_EQ(devices, 2);
    ncclComm_t comms[2];
    NCCL(ncclCommInitAll(comms, 2, nullptr));
    float* x[2];
    cudaStream_t streams[2];
    for (int d = 0; d < 2; ++d) {
      CUDA(cudaSetDevice(d));
      CUDA(cudaStreamCreate(&streams[d]));
      CUDA(cudaMalloc(&x[d], 400));
      CUDA(cudaMemset(x[d], 0, 400));
      for (int i = 0; i <= d; ++i) increment<<<1, 64, 0, streams[d]>>>(x[d], 100);
    }
    NCCL(ncclGroupStart());
    for (int d = 0; d < 2; ++d) NCCL(ncclAllReduce(x[d], x[d], 100, ncclFloat, ncclSum, comms[d], streams[d]));
    NCCL(ncclGroupEnd());
    for (int d = 0; d < 2; ++d) {
      CUDA(cudaSetDevice(d));
      CUDA(cudaStreamSynchronize(streams[d]));
      float h[100];
      CUDA(cudaMemcpy(h, x[d], 400, cudaMemcpyDeviceToHost));
      EXPECT_TRUE(h[0] == 3 && h[99] == 3);
      NCCL(ncclCommDestroy(comms[d]));
    }
    // Peer copy, and unified addressing.
    int can = 0;
    CUDA(cudaDeviceCanAccessPeer(&can, 0, 1));
    EXPECT_EQ(can, 1);
    CUDA(cudaDeviceCanAccessPeer(&can, 1, 1));
    EXPECT_EQ(can, 0);
    CUDA(cudaSetDevice(0));
    CUDA(cudaDeviceEnablePeerAccess(1, 0));
    CUDA(cudaMemset(x[0], 0, 400));
    CUDA(cudaMemcpyPeer(x[1], 1, x[0], 0, 400));
    float h;
    CUDA(cudaMemcpy(&h, x[1], 4, cudaMemcpyDefault));
    EXPECT_EQ(h, 0);
  }));
}

}  // namespace
