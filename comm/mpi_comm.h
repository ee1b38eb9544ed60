// Ranks as processes of an MPI job.
#pragma once

#include <memory>

#include "comm/comm_world.h"
#include "runtime/base/status.h"

namespace octet {

// Starts MPI, once a process; the world ends it when it is destroyed. A rank that is lost ends the job (MPI's default).
Result<std::unique_ptr<CommWorld>> make_mpi_world();

}  // namespace octet
