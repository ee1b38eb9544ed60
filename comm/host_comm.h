// HostComm: the control plane. It moves small host data (plans, counts, hashes, addresses) among all ranks of a job;
// tensors go through DeviceComm. Every rank makes the same calls in the same order, from one thread at a time.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace octet {

class HostComm {
 public:
  virtual ~HostComm() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // `data` of the root becomes `data` on every rank; resized, so a vector that is used again does not allocate once it
  // is large enough. At most 2 GiB, here and below.
  virtual void broadcast(std::vector<std::byte>& data, int root) = 0;
  // On the root: the `mine` of every rank, in rank order. Elsewhere empty.
  virtual std::vector<std::vector<std::byte>> gather(std::span<const std::byte> mine, int root) = 0;

  // The `mine` of every rank, in rank order, on every rank. A gather and a broadcast.
  std::vector<std::vector<std::byte>> all_gather(std::span<const std::byte> mine);
  // Returns once every rank has called it.
  void barrier();
};

}  // namespace octet
