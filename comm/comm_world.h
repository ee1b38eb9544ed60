// CommWorld: all ranks of a job as one rank sees them, and the maker of its communicators.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "comm/device_comm.h"
#include "comm/host_comm.h"
#include "comm/progress.h"
#include "runtime/base/status.h"

namespace octet {

// Thread safety: one thread at a time uses a world and the communicators made of it; progress() says more. A world
// outlives its communicators. Destroying it is collective: a rank that fails alone ends the job instead
// (Watchdog::end_job), for the others would never come.
class CommWorld {
 public:
  virtual ~CommWorld() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // Ranks that run on this rank's host, and this rank's number among them: to share out devices and cores.
  virtual int local_rank() const = 0;
  virtual int local_size() const = 0;
  virtual const std::string& host_name() const = 0;

  virtual HostComm& host() = 0;
  virtual CommProgress& progress() = 0;

  // A communicator of these world ranks, in this order; this rank is one of them. Collective over them. A group of one
  // is a LocalComm.
  virtual std::unique_ptr<DeviceComm> make_group(std::span<const int> ranks) = 0;

  // Blocks the host until all work on the stream is done. Where collectives are asynchronous progress() follows them
  // meanwhile, so this is how a host waits that has enqueued some.
  virtual void wait(Stream& stream) { stream.synchronize(); }
  // The process is about to end: what a device still does for this world's collectives stops. From any thread.
  virtual void abort() {}

  // What a rank does that one of its own collectives fails under: it ends the job with this status and does not return.
  // The watchdog of the job sets it; before that the rank ends alone, and the launcher ends the others.
  void set_failure_handler(std::function<void(const Status&)> handler);
  // This rank cannot go on while others may wait for it: does that.
  [[noreturn]] void fail(const Status& status);

 private:
  std::function<void(const Status&)> failure_handler_;
};

}  // namespace octet
