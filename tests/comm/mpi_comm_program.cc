// One rank of an MPI job that checks the collectives. Exit code 0: all is well.
// usage: mpirun -n N mpi_comm_program N [large|cuda]
//   large   instead, one message that is larger than an int can count
//   cuda    in the memory of one GPU a rank, over NCCL
#include <cstdio>
#include <cstdlib>
#include <string>

#include "collectives_check.h"
#include "comm/comm_factory.h"
#include "kernels/backend_factory.h"

namespace octet {
namespace {

// Rank 0 sends all it has to rank 1.
Status check_large_message(CommWorld& world) {
  constexpr int64_t kRows = 2100, kWidth = int64_t{1} << 20;
  const std::unique_ptr<DeviceComm> group = world.make_group(std::vector<int>{0, 1});
  const bool sends = world.rank() == 0;
  const Tensor sent = Tensor::host(DType::kI8, {sends ? kRows : 0, kWidth});
  const Tensor received = Tensor::host(DType::kI8, {sends ? 0 : kRows, kWidth});
  const auto value = [](int64_t row, int64_t column) { return static_cast<int8_t>(row * 13 + column / 4096); };
  for (int64_t row = 0; row < sent.view.rows(); ++row) {
    for (int64_t i = 0; i < kWidth; ++i) sent.view.as<int8_t>()[row * kWidth + i] = value(row, i);
  }
  HostStream stream;
  group->all_to_all_v(sent.view, std::vector<int64_t>{0, sent.view.rows()}, received.view,
                      std::vector<int64_t>{received.view.rows(), 0}, stream);
  for (int64_t row = 0; row < received.view.rows(); ++row) {
    for (int64_t i = 0; i < kWidth; ++i) {
      if (received.view.as<int8_t>()[row * kWidth + i] != value(row, i)) return failed("row {} is wrong", row);
    }
  }
  return ok_status();
}

Status run(int num_ranks, const std::string& mode) {
  OCTET_ASSIGN_OR_RETURN(std::unique_ptr<CommWorld> world, make_comm_world());
  if (world->size() != num_ranks) return invalid_input("{} ranks, {} expected", world->size(), num_ranks);
  if (mode == "large") return check_large_message(*world);
  const std::string device = mode == "cuda" ? "cuda" : "reference";
  OCTET_ASSIGN_OR_RETURN(const auto backend, make_backend({device, 1, "", world->local_rank()}));
  OCTET_ASSIGN_OR_RETURN(world, make_device_world(std::move(world), backend->memory_kind()));
  return check_collectives(*world, *backend, 17);
}

}  // namespace
}  // namespace octet

int main(int argc, char** argv) {
  if (argc < 2) return 1;
  const octet::Status status = octet::run(std::atoi(argv[1]), argc == 3 ? argv[2] : "");
  if (!status.ok()) std::fprintf(stderr, "rank %d: %s\n", octet::launched_rank(), status.message().c_str());
  return status.exit_code();
}
