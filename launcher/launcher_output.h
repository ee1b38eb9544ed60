// LauncherOutput: reads what mpirun or srun writes to standard error, keeps the ranks' lines, and takes the launcher's
// own banners for what they say.
#pragma once

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

// What a job said about its own end.
struct JobNews {
  std::string verdict;  // of the ranks' watchdogs on a lost rank; empty: none
  std::optional<KilledRank> killed;
};

class LauncherOutput {
 public:
  // Takes the next piece, of any length. Returns the text to pass on: whole lines.
  std::string take(std::string_view piece);
  // What is left at the end.
  std::string finish();

  const JobNews& news() const { return news_; }

 private:
  std::string take_line(const std::string& line);
  std::string end_banner();

  std::string unfinished_;           // line
  std::vector<std::string> banner_;  // lines of the one that is under way, its frame included
  JobNews news_;
};

// How a job ended: from its launcher's status, as waitpid has it, and its news. A message is only there where the ranks
// have not said it themselves.
Status job_status(int wait_status, const JobNews& news);

}  // namespace octet
