// StartClock: how long the ranks of a job have waited to find together. Time in which they are busy by themselves does
// not count. No clock of its own: time is what the caller says it is.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "launcher/job/job_desk.h"

namespace octet {

class StartClock {
 public:
  using Time = std::chrono::steady_clock::time_point;

  StartClock(std::chrono::nanoseconds limit, Time now) : limit_(limit), last_look_(now) {}

  // Looks at the ranks, as often as something is heard of them.
  void look(const std::vector<RankAtDesk>& ranks, Time now);
  // When the start has taken too long, as things are; none: nobody waits.
  std::optional<Time> deadline() const;

 private:
  std::chrono::nanoseconds limit_;
  std::chrono::nanoseconds waited_{0};
  bool waits_ = true;  // from the last look on
  Time last_look_;
};

// Who keeps the start waiting: "rank 1 (host b) has not started". hosts: of each rank, where they are known from the
// job; may be empty.
std::string who_is_missing(const std::vector<RankAtDesk>& ranks, const std::vector<std::string>& hosts);

}  // namespace octet
