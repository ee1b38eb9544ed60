// Supervisor: runs the launcher of a job, passes on what it and the ranks say, hands signals to it, and says how the
// job ended.
#pragma once

#include <unistd.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "launcher/job/child_process.h"
#include "launcher/job/job_desk.h"
#include "launcher/job/launcher_output.h"
#include "launcher/job/start_clock.h"

namespace octet {

struct SupervisedJob {
  std::vector<std::string> command;  // of the launcher, which gives its ranks kJobVariable
  int num_ranks = 1;
  bool several_hosts = false;                  // ranks run elsewhere, too
  std::string interface = {};                  // by which they reach this host; empty: any
  std::vector<std::string> host_of_rank = {};  // empty: this one
  std::vector<std::string> environment = {};   // "NAME=VALUE", of the launcher
  std::chrono::seconds start_limit{120};       // for the ranks to find together
  bool is_service = false;                     // drains on the first signal, and is worth starting again
  int restarts = 0;                            // of a service that failed
};

// SIGINT, SIGTERM or SIGHUP ends the job, and run() returns kInterrupted. A service is told to drain first (SIGUSR1 to
// its launcher), and only a second signal ends it. One thread, which has these signals blocked from then on.
class Supervisor {
 public:
  explicit Supervisor(SupervisedJob job);

  // Until the job has ended for good. kRankLost: a rank died or hung, and the message is one line that says which; the
  // other failures have a message only where the ranks said nothing. A service is not started again after bad input,
  // when its launcher could start nothing, or once it was told to end.
  Status run();

 private:
  using Clock = std::chrono::steady_clock;

  // can_restart: it was not the launch that failed.
  struct End {
    Status status;
    bool can_restart = true;
  };

  Result<End> run_once();
  void watch(ChildProcess& child, JobDesk& desk);
  int longest_wait() const;
  void hear_desk(JobDesk& desk);
  void hurry_start(const ChildProcess& child, const JobDesk& desk);
  End end_of(ChildProcess& child, JobDesk& desk);
  void take_signal(const ChildProcess& child);
  Status wait_before_restart(std::chrono::seconds pause) const;

  const SupervisedJob job_;
  const bool own_group_;
  const UniqueFd signals_;
  LauncherOutput output_;
  StartClock start_;
  std::string too_late_;  // why the start was given up; empty: it was not
  bool draining_ = false;
  bool interrupted_ = false;
  std::optional<Clock::time_point> deadline_;  // for a job that is ending; then it is killed
};

}  // namespace octet
