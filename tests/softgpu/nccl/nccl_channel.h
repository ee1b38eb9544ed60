// Byte transport between the ranks of a communicator, which may be threads or processes of one
// host: one ring buffer in POSIX shared memory for each ordered pair of ranks.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "tests/softgpu/base/common.h"

namespace octet::softgpu {

// What a message is, so that mismatched calls are noticed. Sent ahead of the payload.
struct MessageHeader {
  u32 operation;  // a Kind, and
  u32 data_type;  // an ncclDataType_t of nccl_operations.h
  u64 count;
  u64 sequence;  // number of the collective in its communicator, 0 for point-to-point
  bool operator==(const MessageHeader&) const = default;
};
std::string describe(const MessageHeader& header);  // "AllReduce (number 2) of 100 elements of type 7"

// One message to or from a peer.
struct Transfer {
  bool sending;
  int peer;
  MessageHeader header;
  std::byte* data;
  u64 bytes;
};

struct TransportError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Transport {
 public:
  // Attaches to the segment `name`, creating it if need be, and waits for all ranks. Setting `cancelled` ends every
  // wait with a TransportError.
  Transport(const std::string& name, int ranks, int rank, const std::atomic<bool>& cancelled);
  ~Transport();
  Transport(const Transport&) = delete;

  int ranks() const { return ranks_; }
  int rank() const { return rank_; }

  // Carries out all transfers; messages between the same two ranks keep their order. Throws
  // TransportError on a timeout, a mismatch, or the loss of a peer.
  void run(const std::vector<Transfer>& transfers);

  // Makes every rank's pending and future calls fail.
  void abort();
  // From now on peers need not wait for this rank's process to stay alive.
  void leave();

 private:
  struct Segment;
  struct Ring;
  class Exchange;
  void meet();  // waits for all ranks
  Ring& ring(int from, int to) const;
  bool is_aborted() const;
  // Both throw if waiting is in vain.
  void check_aborted() const;
  void check_alive(const std::vector<int>& peers) const;

  std::string name_;
  int ranks_, rank_;
  const std::atomic<bool>& cancelled_;
  Segment* segment_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace octet::softgpu
