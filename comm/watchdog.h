// Watchdog: notices that a rank of the job died, hangs, or holds up a collective, and ends the whole job with one line
// that says which. It has a thread and TCP connections of its own: what hangs MPI does not hang it.
//
// Every rank sends a heartbeat with its CommProgress to rank 0, and rank 0 to every rank. Rank 0 judges all ranks, the
// others judge rank 0. Time during which a rank's own watchdog did not run (SIGSTOP, a frozen machine) does not count,
// so a rank that wakes up blames nobody.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "comm/comm_world.h"
#include "comm/watch_judge.h"
#include "comm/watch_links.h"
#include "runtime/base/status.h"

namespace octet {

struct WatchdogOptions {
  std::chrono::milliseconds interval{500};  // between heartbeats; shorter notices sooner, and costs a message each
  WatchLimits limits;                       // silence: at least two intervals
  std::string address;                      // where rank 0 listens and others reach it (connect_watchdogs); empty: on
                                            // one host its loopback interface, else the first address that answers
  // Tells who runs the job of a failure that this rank found, or that it has the say of. False: nobody heard it, and
  // the line goes to stderr instead, as it does without this. Called in the watchdog's thread, and must not wait for
  // long.
  std::function<bool(const JobFailure&)> tell;
  // Called once in every rank before it ends, in the watchdog's thread, on rank 0 before the others are told: the place
  // to end what clients wait for, quickly. The failure's line is already on stderr of the rank that found it.
  std::function<void(const JobFailure&)> on_failure;
};

// Thread safety: every member function may be called from any thread.
class Watchdog {
 public:
  // Collective over the world, which outlives it and whose failure handler it becomes. Afterwards a failure ends this
  // process at any time, by end_process(failure.exit_code), after on_failure. In a world of one only end_job is of use.
  static Result<std::unique_ptr<Watchdog>> start(CommWorld& world, WatchdogOptions options);

  // Says goodbye: this rank leaves in good order, whatever the others still do.
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // This rank has failed while others may wait for it: ends the job on every rank with the status's exit code, and its
  // message, with this rank's name in front, on stderr.
  [[noreturn]] void end_job(const Status& status);

  // Seconds since each rank was last heard of; 0 for this rank, and for those that this rank does not watch.
  std::vector<double> heartbeat_ages() const;

 private:
  using Time = WatchJudge::Time;

  Watchdog(CommWorld& world, WatchdogOptions options, std::vector<std::string> hosts, std::vector<RankLink> links);

  void run(const std::stop_token& stop);
  void wait_for_news() const;
  void advance_clock();
  void send_beats();
  std::optional<JobFailure> hear_all();
  std::optional<JobFailure> take_message(RankLink& from, const Message& message);
  [[noreturn]] void end(const JobFailure& failure, bool print);
  [[noreturn]] void end_told(const JobFailure& failure);
  void report_to_rank_0(const JobFailure& failure);
  void tell_everybody(const JobFailure& failure);

  const WatchdogOptions options_;
  const int rank_;
  const std::string host_name_;
  CommWorld& world_;
  const UniqueFd wake_;  // an eventfd

  mutable std::mutex mutex_;  // guards all below but links_, which are the thread's alone
  Time clock_{0};             // of this watchdog's running time
  WatchJudge judge_;
  std::optional<JobFailure> own_failure_;

  std::vector<RankLink> links_;
  std::chrono::steady_clock::time_point last_look_;
  Time next_beat_{0};
  std::jthread thread_;
};

}  // namespace octet
