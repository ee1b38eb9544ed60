#include "comm/comm_factory.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "comm/local_world.h"
#include "comm/mpi_comm.h"
#ifdef OCTET_NCCL
#include "comm/nccl_comm.h"
#endif

namespace octet {

// What the launchers leave in the environment: Open MPI's mpirun; PMIx (srun, prrte); PMI (srun, MPICH's mpirun).
// Slurm's own variables are no sign: a batch script has them, too.
bool launched_as_rank() {
  constexpr const char* kSigns[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"};
  return std::ranges::any_of(kSigns, [](const char* name) { return std::getenv(name) != nullptr; });
}

int launched_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}) {
    if (const char* rank = std::getenv(name)) return std::atoi(rank);
  }
  return 0;
}

Result<std::unique_ptr<CommWorld>> make_comm_world() {
  if (launched_as_rank()) return make_mpi_world();
  if (const char* tasks = std::getenv("SLURM_STEP_NUM_TASKS"); tasks != nullptr && std::atoi(tasks) > 1) {
    return invalid_input("srun started {} processes that know nothing of each other: srun --mpi=pmix joins them",
                         tasks);
  }
  return std::unique_ptr<CommWorld>(std::make_unique<LocalWorld>());
}

Result<std::unique_ptr<CommWorld>> make_device_world(std::unique_ptr<CommWorld> world, MemoryKind memory) {
  if (memory == MemoryKind::kHost) return world;
#ifdef OCTET_NCCL
  return make_nccl_world(std::move(world));
#else
  return failed("this build has no transport for the memory of a GPU");
#endif
}

}  // namespace octet
