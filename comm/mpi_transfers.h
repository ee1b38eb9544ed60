// MpiTransfers: messages that are under way on one MPI communicator, and the wait for them.
#pragma once

#include <mpi.h>

#include <climits>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "comm/progress.h"
#include "comm/waiter.h"

namespace octet {

// Between a pair of ranks messages arrive in the order they were sent. Allocates only while its lists grow.
class MpiTransfers {
 public:
  // A message of more than max_piece bytes travels as several of at most that: MPI counts in int, and a wait sees
  // progress piece by piece. Both ends use the same.
  MpiTransfers(MPI_Comm comm, bool core_to_itself, int64_t max_piece);

  // Both start a transfer and return; until wait_all the memory is the transfer's. An empty message is a message.
  void receive(int from, std::byte* data, int64_t num_bytes);
  void send(int to, const std::byte* data, int64_t num_bytes);
  // Returns when all that was started is done; tells the scope what arrives and what was sent.
  void wait_all(CollectiveScope& scope);

  // Waits for a message (of one piece) from `from` and returns its size; receive() then takes it.
  int64_t wait_for_message(int from);

 private:
  struct Piece {
    int64_t bytes_received = 0, bytes_sent = 0;
    bool completes_peer = false;  // the last that this wait receives from its sender
  };

  MPI_Comm comm_;
  Waiter waiter_;
  int64_t max_piece_;
  std::vector<MPI_Request> requests_;
  std::vector<Piece> pieces_;  // of the same index
  std::vector<int> finished_;
};

}  // namespace octet
