// The one place that chooses how the ranks of a job talk to each other.
#pragma once

#include <memory>

#include "comm/comm_world.h"
#include "runtime/base/status.h"

namespace octet {

// Started by mpirun or srun: the job's MPI world. Otherwise one rank alone, and MPI is never started.
Result<std::unique_ptr<CommWorld>> make_comm_world();

}  // namespace octet
