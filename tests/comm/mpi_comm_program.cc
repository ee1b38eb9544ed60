// One rank of an MPI job that checks the collectives. Exit code 0: all is well.
// usage: mpirun -n N mpi_comm_program N [large]      large: instead, one message that is larger than an int can count
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "collectives_check.h"
#include "comm/comm_factory.h"
#include "kernels/reference/reference_backend.h"

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

}  // namespace
}  // namespace octet

int main(int argc, char** argv) {
  const auto world = octet::make_comm_world();
  if (!world.ok() || argc < 2 || (*world)->size() != std::atoi(argv[1])) {
    std::fprintf(stderr, "usage: mpirun -n N mpi_comm_program N [large] %s\n", world.status().message().c_str());
    return 1;
  }
  octet::ReferenceBackend backend;
  const bool large = argc == 3 && std::string_view(argv[2]) == "large";
  const octet::Status status =
      large ? octet::check_large_message(**world) : octet::check_collectives(**world, backend, 17);
  if (!status.ok()) std::fprintf(stderr, "rank %d: %s\n", (*world)->rank(), status.message().c_str());
  return status.exit_code();
}
