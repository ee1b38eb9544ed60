#include "comm/mpi_raw.h"

#include <mpi.h>

#include <climits>
#include <vector>

#include "runtime/base/check.h"

namespace octet {
namespace {

struct Parts {
  explicit Parts(std::span<const int64_t> bytes) {
    int64_t offset = 0;
    for (const int64_t count : bytes) {
      OCTET_CHECK(offset + count <= INT_MAX, "MPI counts in int");
      counts.push_back(static_cast<int>(count));
      offsets.push_back(static_cast<int>(offset));
      offset += count;
    }
  }
  std::vector<int> counts, offsets;
};

}  // namespace

std::string mpi_library_version() {
  std::string text(MPI_MAX_LIBRARY_VERSION_STRING, '\0');
  int length = 0;
  MPI_Get_library_version(text.data(), &length);
  text.resize(static_cast<size_t>(length));
  return text;
}

void mpi_all_to_all_v(const std::byte* send, std::span<const int64_t> send_bytes, std::byte* receive,
                      std::span<const int64_t> receive_bytes) {
  const Parts from(send_bytes), to(receive_bytes);
  MPI_Alltoallv(send, from.counts.data(), from.offsets.data(), MPI_BYTE, receive, to.counts.data(), to.offsets.data(),
                MPI_BYTE, MPI_COMM_WORLD);
}

}  // namespace octet
