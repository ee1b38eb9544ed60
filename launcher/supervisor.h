// Supervisor: runs the launcher of a job, passes its output on and signals to it, and says how the job ended.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "launcher/child_process.h"
#include "launcher/launcher_output.h"

namespace octet {

struct SupervisedJob {
  std::vector<std::string> command;  // of the launcher
  bool is_service = false;           // drains on the first signal, and is worth starting again
  int restarts = 0;                  // of a service that failed
};

// SIGINT, SIGTERM or SIGHUP ends the job, and run() returns kInterrupted. A service is told to drain first (SIGUSR1 to
// its launcher), and only a second signal ends it. One thread, which has these signals blocked from then on.
class Supervisor {
 public:
  explicit Supervisor(SupervisedJob job);

  // Until the job has ended for good. kRankLost: a rank died or hung, and the message is one line that says which; the
  // other failures have a message only where the ranks said nothing. A service is not started again after bad input or
  // once it was told to end.
  Status run();

 private:
  using Clock = std::chrono::steady_clock;

  Status run_once();
  void watch(ChildProcess& child);
  void take_signal(const ChildProcess& child);
  Status wait_before_restart(const Status& why, int restart) const;

  const SupervisedJob job_;
  const bool own_group_;
  const UniqueFd signals_;
  LauncherOutput output_;
  bool draining_ = false;
  bool interrupted_ = false;
  std::optional<Clock::time_point> deadline_;  // for a job that is ending; then it is killed
};

}  // namespace octet
