#include "comm/mpi_transfers.h"

#include <algorithm>

#include "runtime/base/check.h"

namespace octet {
namespace {

constexpr int kTag = 0;  // the order of messages tells them apart

}  // namespace

MpiTransfers::MpiTransfers(MPI_Comm comm, bool core_to_itself, int64_t max_piece)
    : comm_(comm), waiter_(core_to_itself), max_piece_(max_piece) {
  OCTET_CHECK(max_piece > 0 && max_piece <= INT_MAX);
}

void MpiTransfers::receive(int from, std::byte* data, int64_t num_bytes) {
  int64_t begin = 0;
  do {
    const int64_t size = std::min(num_bytes - begin, max_piece_);
    MPI_Irecv(data + begin, static_cast<int>(size), MPI_BYTE, from, kTag, comm_, &requests_.emplace_back());
    begin += size;
    pieces_.push_back({size, 0, begin == num_bytes});
  } while (begin < num_bytes);
}

void MpiTransfers::send(int to, const std::byte* data, int64_t num_bytes) {
  int64_t begin = 0;
  do {
    const int64_t size = std::min(num_bytes - begin, max_piece_);
    MPI_Isend(data + begin, static_cast<int>(size), MPI_BYTE, to, kTag, comm_, &requests_.emplace_back());
    begin += size;
    pieces_.push_back({0, size, false});
  } while (begin < num_bytes);
}

void MpiTransfers::wait_all(CollectiveScope& scope) {
  const int num_requests = static_cast<int>(requests_.size());
  finished_.resize(requests_.size());
  waiter_.restart();
  for (int num_done = 0; num_done < num_requests;) {
    int num_finished = 0;
    MPI_Testsome(num_requests, requests_.data(), &num_finished, finished_.data(), MPI_STATUSES_IGNORE);
    if (num_finished == 0) {
      waiter_.pause();
      continue;
    }
    waiter_.restart();
    num_done += num_finished;
    for (int i = 0; i < num_finished; ++i) {
      const Piece& piece = pieces_[static_cast<size_t>(finished_[static_cast<size_t>(i)])];
      scope.sent(piece.bytes_sent);
      if (piece.bytes_received > 0) scope.received(piece.bytes_received, piece.completes_peer ? 1 : 0);
    }
  }
  requests_.clear();
  pieces_.clear();
}

int64_t MpiTransfers::wait_for_message(int from) {
  waiter_.restart();
  while (true) {
    int arrived = 0;
    MPI_Status status;
    MPI_Iprobe(from, kTag, comm_, &arrived, &status);
    if (arrived != 0) {
      int num_bytes = 0;
      MPI_Get_count(&status, MPI_BYTE, &num_bytes);
      return num_bytes;
    }
    waiter_.pause();
  }
}

}  // namespace octet
