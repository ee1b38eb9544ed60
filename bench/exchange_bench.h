// The expert exchange alone: how fast rows reach their experts and sums come home, and what MPI itself would take.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/comm_world.h"
#include "kernels/backend.h"
#include "runtime/base/status.h"

namespace octet {

struct ExchangeBenchOptions {
  std::vector<int64_t> row_counts = {64, 128, 256, 512, 1024, 2048, 4096};  // that every rank brings
  int64_t hidden = 4096;
  int64_t num_experts = 8;
  int64_t top_k = 2;
  int rounds = 21;    // the median of so many is reported
  bool json = false;  // one JSON object instead of a table
};

// Collective over a job of at least two ranks under MPI, with communicators for the backend's memory; rank 0 prints. In
// rounds that take turns, for fp32 and bf16:
//   alltoallv  MPI_Alltoallv of rows packed already, as many to every rank; not on GPUs
//   transport  the same bytes through DeviceComm
//   dispatch   packing, counts, metadata and rows of a random routing, through AllToAllExpertExchange
//   combine    weighing, and the sums home
// Of each: microseconds (of the slowest rank), bytes that a rank sends to others, GB/s of these; of the transport also
// MPI's time over its own. The exchange's results are compared with a plain sum first; a wrong one is kFailed.
Status run_exchange_bench(CommWorld& world, Backend& backend, const ExchangeBenchOptions& options);

}  // namespace octet
