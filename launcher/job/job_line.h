// JobLine: a rank's way to the `octet run` that started it.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "comm/comm_world.h"
#include "comm/network.h"
#include "launcher/job/job_message.h"

namespace octet {

// Thread-safe. Of a process that octet run has not started, everything here does nothing.
class JobLine {
 public:
  // This process's own.
  static JobLine& get();

  // Before anything is logged: from now on standard error goes to octet run on a connection of its own, apart from what
  // the launcher itself says. Where octet run cannot be reached, the log goes by way of the launcher as before, and its
  // first line says so (kNoticeOfDetour).
  void connect();

  // False: nobody has heard it.
  bool report(const RankReport& report);

 private:
  JobLine() = default;

  std::mutex mutex_;
  UniqueFd reports_;
};

// What octet run knows by that a rank's log comes by way of the launcher. A log that pretends to, where it does not,
// only makes octet run trust it less.
inline constexpr const char* kNoticeOfDetour = "cannot reach octet run, so its log takes the launcher's way";

// Tells octet run how far this rank is.
void report_stage(RankStage stage);
// make_comm_world(), during which this rank waits for the others. The caller says when they all have found together.
Result<std::unique_ptr<CommWorld>> join_job();

}  // namespace octet
