// MPI by itself: which one it is, and its own all-to-all, for benchmarks to hold the transport against.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace octet {

// What the MPI library calls itself, "Open MPI v4.1.4, package: ..."; at any time, MPI need not be started.
std::string mpi_library_version();

// MPI_Alltoallv over all ranks of the job, in bytes: rank i gets send_bytes[i] of `send` and fills receive_bytes[i] of
// `receive`, in rank order. Collective. REQUIRES: a world of make_mpi_world() lives; each side is less than 2 GiB.
void mpi_all_to_all_v(const std::byte* send, std::span<const int64_t> send_bytes, std::byte* receive,
                      std::span<const int64_t> receive_bytes);

}  // namespace octet
