// DeviceComm and Reducer over one NCCL communicator.
#pragma once

#include <memory>

#include "comm/device_comm.h"
#include "comm/nccl_context.h"

namespace octet {

// A group of several ranks; this process is number `rank` of `size`. The context outlives it.
std::unique_ptr<DeviceComm> make_nccl_group(NcclContext& context, std::shared_ptr<NcclCommunicator> communicator,
                                            CommProgress::Group& group, int rank, int size);
// The group of one: every collective is a copy in the device's memory.
std::unique_ptr<DeviceComm> make_cuda_group_of_one(NcclContext& context);

}  // namespace octet
