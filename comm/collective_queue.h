// CollectiveQueue: the collectives that a rank has enqueued on an asynchronous device and that are not known to be
// done.
//
// A collective counts as entered when it is enqueued: from then on it needs nothing more of this rank's host, so a rank
// that has not entered one is a rank whose host has not come that far. That it is done is noticed only where the host
// waits, for nobody else looks: follow() looks at the collectives in order, and this rank's place (CommProgress) is the
// oldest that is not done, with the layer and phase it was enqueued under. So while the host merely enqueues, the rank
// is computing; while it waits for a step whose third layer hangs, it is in that layer's collective, though the host
// has long enqueued the others, and the watchdog's report names it as it names one of a synchronous transport.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>

#include "comm/progress.h"

namespace octet {

// Thread safety: as CommProgress's writer.
class CollectiveQueue {
 public:
  struct Collective {
    CommProgress::Group* group = nullptr;
    CollectiveKind kind = CollectiveKind::kNone;
    int64_t expected_bytes = 0;  // from other ranks
    int expected_peers = 0;
    int64_t bytes_sent = 0;  // to other ranks
    int32_t layer = kNoLayer;
    Phase phase = Phase::kStart;
    std::function<bool()> done;  // whether the device has finished it
  };

  explicit CollectiveQueue(CommProgress& progress) : progress_(progress) {}

  // The collective with the layer and the phase that the model has announced.
  Collective at_this_place(Collective collective) const;
  // The collective has been enqueued; again and again where it is part of a captured step that is replayed.
  void enter(const Collective& collective);
  // Notices what is done, in order, and shows the oldest that is not. Returns whether one is left.
  bool follow();

  // "layer 3, combine: in all_reduce number 17 of ranks 0 1, …": the collective as the next of its group, and the
  // oldest that is not done ("" where there is none).
  std::string describe_next(const Collective& collective) const;
  std::string describe_oldest() const;

 private:
  struct Entered {
    Place place;
    int64_t bytes_sent = 0;
    std::function<bool()> done;
  };

  Place place_of(const Collective& collective, uint64_t sequence) const;
  std::string describe_place(const Place& place) const;

  CommProgress& progress_;
  std::deque<Entered> entered_;
  bool oldest_is_shown_ = false;
  std::chrono::steady_clock::time_point shown_since_;
};

}  // namespace octet
