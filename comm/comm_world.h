// CommWorld: all ranks of a job as one rank sees them, and the maker of its communicators.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "comm/device_comm.h"
#include "comm/host_comm.h"
#include "comm/progress.h"

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
};

}  // namespace octet
