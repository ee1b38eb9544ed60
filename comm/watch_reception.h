// WatchReception: rank 0's side of the first words between watchdogs.
#pragma once

#include <chrono>
#include <deque>
#include <vector>

#include "comm/handshake.h"
#include "comm/network.h"
#include "comm/watch_links.h"

namespace octet {

// Takes the calls of ranks 1 to num_ranks - 1. None waits for another caller that is slow to speak.
class WatchReception {
  using Clock = std::chrono::steady_clock;

 public:
  // The listener outlives it.
  WatchReception(const ListeningSocket& listener, const Bytes32& secret, int num_ranks)
      : listener_(listener), secret_(secret), num_ranks_(num_ranks) {}

  // Returns when all ranks have called, or after `limit`.
  void take_calls(std::chrono::milliseconds limit);
  std::vector<int> missing() const;
  // Callers that were turned away.
  int64_t num_strangers() const { return num_strangers_; }
  std::vector<RankLink> take_links() { return std::move(links_); }

 private:
  struct Caller {
    MessageLink link;
    Bytes32 challenge{};
    Clock::time_point deadline;
    int rank = 0;  // once it has proved that it is one of the job's
  };

  void wait_for_news(std::chrono::milliseconds limit) const;
  void accept_all();
  // Whether this was all that there is to do with a caller.
  bool hear(Caller& caller);
  bool take_message(Caller& caller, const Message& message);

  const ListeningSocket& listener_;
  const Bytes32 secret_;
  const int num_ranks_;
  std::deque<Caller> callers_;  // that are not links yet, in the order in which they came
  std::vector<RankLink> links_;
  int64_t num_strangers_ = 0;
};

}  // namespace octet
