// One rank of an MPI job that checks the collectives. Exit code 0: all is well.
#include <cstdio>
#include <cstdlib>

#include "collectives_check.h"
#include "comm/comm_factory.h"

int main(int argc, char** argv) {
  const auto world = octet::make_comm_world();
  if (!world.ok() || argc < 2 || (*world)->size() != std::atoi(argv[1])) {
    std::fprintf(stderr, "usage: mpirun -n N mpi_comm_program N %s\n", world.status().message().c_str());
    return 1;
  }
  const octet::Status status = octet::check_collectives(**world, 17);
  if (!status.ok()) std::fprintf(stderr, "rank %d: %s\n", (*world)->rank(), status.message().c_str());
  return status.exit_code();
}
