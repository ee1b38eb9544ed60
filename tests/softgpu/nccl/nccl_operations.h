// What a communicator does: collectives and messages, built from the byte transport of nccl_channel.h. Reductions go in
// the order of ranks, so results do not depend on timing.
#pragma once

#include "tests/softgpu/nccl/nccl_channel.h"
#include "tests/softgpu/nccl/nccl_reduce.h"

namespace octet::softgpu {

enum class Kind : u32 {
  kSend,
  kReceive,
  kAllReduce,
  kReduceScatter,
  kAllGather,
  kBroadcast,
  kReduce,
  kAlltoAll,
  kGather,
  kScatter,
  kSplit
};

struct Operation {
  Kind kind;
  const void* send;
  void* receive;
  u64 count;
  ncclDataType_t type;
  ncclRedOp_t reduction = ncclSum;
  int peer = 0;  // or root
};

// NCCL's name of an operation, without its prefix: "AllReduce".
const char* name_of(Kind kind);

// Both throw TransportError, and DeviceFault for a buffer that is not the device's. `sequence` is the number of the
// collective in its communicator.
void run_collective(Transport& transport, const Operation& operation, u64 sequence);
// All sends and receives of a group proceed together.
void run_point_to_point(Transport& transport, const std::vector<Operation>& operations);

}  // namespace octet::softgpu
