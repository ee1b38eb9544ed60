// WatchJudge: decides from what was heard whether a rank is dead, hangs, or holds up a collective. No clock, no
// sockets: time is what the caller says it is.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "comm/beat.h"

namespace octet {

struct WatchLimits {
  std::chrono::milliseconds silence{10'000};      // without a heartbeat of a rank
  std::chrono::milliseconds collective{120'000};  // without an event on any rank while one is in a collective
};

class WatchJudge {
 public:
  using Time = std::chrono::nanoseconds;  // since any fixed moment

  // Judges on behalf of rank `self`. hosts[i] is rank i's. Watches the ranks that `watched` names; collectives only if
  // these are all other ranks.
  WatchJudge(int self, std::vector<std::string> hosts, std::span<const int> watched, const WatchLimits& limits,
             Time now);

  // A heartbeat came; of `self`, too, whose place is part of the story.
  void heard(int rank, ProgressReport report, Time now);
  // The rank's connection closed without a goodbye.
  void lost(int rank, Time now);
  // The rank said goodbye: nothing is expected of it any more.
  void left(int rank);

  // The first failure there is, if any. A lost rank is judged kLostGrace after it was lost: ranks that a signal ends
  // all at once are no news.
  std::optional<JobFailure> verdict(Time now) const;

  int size() const { return static_cast<int>(ranks_.size()); }
  // Since the rank was last heard of; zero where it is not watched.
  Time silence(int rank, Time now) const;

  static constexpr std::chrono::milliseconds kLostGrace{200};

 private:
  struct Watched {
    std::string host;
    bool watched = false;
    Time last_heard{0};
    std::optional<Time> lost_at;
    ProgressReport report;
  };

  std::string name(size_t rank) const;  // "rank 2 (host b)"
  std::string last_seen(size_t rank) const;
  JobFailure failure(size_t rank, const std::string& what) const;
  std::optional<JobFailure> collective_verdict(Time now) const;
  bool is_blocked(const Watched& rank) const;
  std::vector<size_t> not_entered(const Watched& waiting) const;
  JobFailure stuck(size_t waiting, const std::vector<size_t>& missing, Time since) const;

  size_t self_;
  bool sees_all_;
  WatchLimits limits_;
  std::vector<Watched> ranks_;
  Time last_event_;  // when any rank last moved, or none was in a collective
};

}  // namespace octet
