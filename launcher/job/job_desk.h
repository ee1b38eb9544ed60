// JobDesk: where the ranks of a job report to `octet run`, and where their standard error comes together. A Unix socket
// on one host, a TCP port for several; whoever does not show the job's secret is sent away.
#pragma once

#include <poll.h>

#include <chrono>
#include <string>
#include <vector>

#include "comm/network.h"
#include "launcher/job/job_message.h"

namespace octet {

// What the desk knows of a rank.
struct RankAtDesk {
  RankStage stage = RankStage::kMissing;
  std::string host;  // by the name it has for itself; empty: not heard of
};

// One thread. Nothing here waits.
class JobDesk {
 public:
  // several_hosts: ranks call from elsewhere, by `interface` (a name or an address; empty: all).
  static Result<JobDesk> open(int num_ranks, bool several_hosts, const std::string& interface);

  // The value of kJobVariable for the ranks.
  const std::string& invitation() const { return invitation_; }

  // What there is to wait for.
  void add_events(std::vector<pollfd>& events) const;
  // Takes all that has come. Returns what the ranks have logged: whole lines.
  std::string take();
  // The same at the end of the job: what is left of unfinished lines, too.
  std::string finish();

  const std::vector<RankAtDesk>& ranks() const { return ranks_; }
  // The first one on a lost rank; empty: none.
  const std::string& verdict() const { return verdict_; }
  bool anybody_came() const { return anybody_came_; }
  bool has_callers() const { return !callers_.empty(); }

  // Ends the ranks' processes on this host that are still there, for instance because their launcher was killed. Only
  // those that called by the Unix socket are known.
  void end_processes();

 private:
  using Clock = std::chrono::steady_clock;

  struct Caller {
    UniqueFd socket;
    Clock::time_point since;
    bool known = false;  // has shown the secret
    LineKind kind = LineKind::kReports;
    int rank = 0;
    std::vector<std::byte> unread;  // of reports, or of an unfinished line
  };

  explicit JobDesk(int num_ranks) : ranks_(static_cast<size_t>(num_ranks)) {}

  void welcome();
  void read(Caller& caller, std::string& log);
  void digest(Caller& caller, std::string& log);
  bool take_hello(Caller& caller);
  void remember_process(int socket);

  UniqueFd listener_;
  bool unix_ = false;
  std::string secret_, invitation_;
  std::vector<Caller> callers_;
  std::vector<RankAtDesk> ranks_;
  std::vector<UniqueFd> processes_;
  std::string verdict_;
  bool anybody_came_ = false;
};

}  // namespace octet
