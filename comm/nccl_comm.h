// Ranks with a GPU each: NCCL carries tensors from GPU to GPU, the transport below (MPI) the control plane.
#pragma once

#include <memory>

#include "comm/comm_world.h"
#include "runtime/base/status.h"

namespace octet {

// A world whose groups move tensors in the memory of this process's current CUDA device, on CUDA streams
// (Stream::native_handle). Collective over `base`. kInvalidInput, the same on every rank, where ranks share a GPU, have
// different kinds of it, or different versions of NCCL. nccl_context.h says how collectives are followed and how they
// fail.
Result<std::unique_ptr<CommWorld>> make_nccl_world(std::unique_ptr<CommWorld> base);

}  // namespace octet
