// DeviceComm: collectives that move tensors among the ranks of one group, on a stream. Every rank of the group makes
// the same calls in the same order. A rank that is lost ends the job. Like a backend's operations a collective is
// enqueued on the stream; on a device without asynchronous execution it is done when the call returns. Tensors live in
// the memory of the device that the communicator was made for.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "comm/reducer.h"
#include "runtime/base/device.h"
#include "runtime/base/tensor.h"

namespace octet {

class DeviceComm {
 public:
  virtual ~DeviceComm() = default;
  virtual int rank() const = 0;  // of this process within the group
  virtual int size() const = 0;

  // all = the `mine` of every rank, in rank order; rows[i] rows come from rank i. mine [rows[rank()], …],
  // all [Σ rows, …], one dtype and row size.
  virtual void all_gather_v(TensorView mine, std::span<const int64_t> rows, TensorView all, Stream& stream) = 0;
  // Rows [Σ send_rows[<i], + send_rows[i]) of `send` go to rank i; `receive` takes receive_rows[i] rows from rank i, in
  // rank order.
  virtual void all_to_all_v(TensorView send, std::span<const int64_t> send_rows, TensorView receive,
                            std::span<const int64_t> receive_rows, Stream& stream) = 0;

  // Sums by the transport's own means, whose order is its own; null where it has none and moves bytes only. The
  // communicator outlives them.
  virtual std::unique_ptr<Reducer> make_reducer() { return nullptr; }
};

}  // namespace octet
