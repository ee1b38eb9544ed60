// The one place that chooses how the ranks of a job talk to each other.
#pragma once

#include <memory>

#include "comm/comm_world.h"
#include "runtime/base/status.h"

namespace octet {

// Started by mpirun or srun: the job's MPI world. Otherwise one rank alone, and MPI is never started.
Result<std::unique_ptr<CommWorld>> make_comm_world();

// The same ranks with communicators for tensors in the memory of the given kind of device: the world itself for the
// host's memory, NCCL on top of it for CUDA's (comm/nccl_comm.h). Collective over the world; no group has been made
// yet.
Result<std::unique_ptr<CommWorld>> make_device_world(std::unique_ptr<CommWorld> world, MemoryKind memory);

// Whether this process is one of a job's ranks, before any transport runs.
bool launched_as_rank();
// The number that the launcher gave this process, before any transport runs; 0 for one that runs alone.
int launched_rank();

}  // namespace octet
