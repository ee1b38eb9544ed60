// LauncherOutput: reads what mpirun or srun writes to standard error, and takes the launcher's own banners for what
// they say. The ranks' standard error goes elsewhere (JobDesk); once that of any of them comes by this way, nothing
// here means anything any more, and all of it is passed on.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"

namespace octet {

// A rank that a signal ended.
struct KilledRank {
  int rank = 0;
  std::string host;
  std::string signal;  // "signal 9 (Killed)"
};

// What is known of a job's end.
struct JobNews {
  std::string verdict;  // of the ranks' watchdogs on a lost rank, as the desk has it; empty: none
  std::optional<KilledRank> killed;
  bool has_started = false;  // there were processes: a rank was heard of, or the launcher told of the end of one
  std::string complaint;     // of a launcher that has started nothing: its first words
};

class LauncherOutput {
 public:
  using Clock = std::chrono::steady_clock;

  // Takes the next piece, of any length. Returns the text to pass on: whole lines. Until the job has started, all is
  // kept back: what a launcher says that cannot start it is told in one line (JobNews::complaint).
  std::string take(std::string_view piece, Clock::time_point now);
  // A rank was heard of. Returns what was kept back.
  std::string job_has_started();
  // What was kept back for too long: a banner that does not end was none, and people may wait for what a launcher says
  // that is slow to start.
  std::string overdue(Clock::time_point now);
  // When there is something overdue; none: never.
  std::optional<Clock::time_point> due() const;
  // What is left at the end; `failed`: the launcher did not end well.
  std::string finish(bool failed);

  const JobNews& news() const { return news_; }
  // Whether all ranks' standard error goes elsewhere, as far as is known.
  bool is_launchers_own() const { return is_launchers_own_; }

 private:
  std::string take_line(const std::string& line, Clock::time_point now);
  std::string end_banner();
  std::string give_up_banner();
  std::string pass(const std::string& text, Clock::time_point now);

  std::string unfinished_;           // line
  std::vector<std::string> banner_;  // lines of the one that is under way, its frame included
  Clock::time_point banner_since_;
  std::string early_;  // of a job that has not started
  std::optional<Clock::time_point> early_since_;
  bool keeps_early_ = true;
  bool is_launchers_own_ = true;
  JobNews news_;
};

// The first thing that a launcher complains of, in one line; "" for no text.
std::string first_complaint(const std::string& text);

// How a job ended: from its launcher's status, as waitpid has it, and its news. A message is only there where the ranks
// have not said it themselves.
Status job_status(int wait_status, const JobNews& news);

}  // namespace octet
