#include "comm/collective_queue.h"

#include <utility>

namespace octet {

CollectiveQueue::Collective CollectiveQueue::at_this_place(Collective collective) const {
  collective.layer = progress_.place_.layer;
  collective.phase = progress_.place_.phase;
  return collective;
}

Place CollectiveQueue::place_of(const Collective& collective, uint64_t sequence) const {
  Place place;
  place.layer = collective.layer;
  place.phase = collective.phase;
  place.kind = collective.kind;
  place.group = collective.group->index;
  place.sequence = sequence;
  place.expected_bytes = static_cast<uint64_t>(collective.expected_bytes);
  place.expected_peers = static_cast<uint32_t>(collective.expected_peers);
  return place;
}

void CollectiveQueue::enter(const Collective& collective) {
  const uint64_t sequence = collective.group->entered.fetch_add(1, std::memory_order_relaxed) + 1;
  entered_.push_back({place_of(collective, sequence), collective.bytes_sent, collective.done});
  progress_.publish();
  oldest_is_shown_ = false;
}

bool CollectiveQueue::follow() {
  const auto now = std::chrono::steady_clock::now();
  bool moved = false;
  while (!entered_.empty() && entered_.front().done()) {
    const Entered& oldest = entered_.front();
    progress_.add_to_totals(oldest.place.phase, now - (oldest_is_shown_ ? shown_since_ : now), oldest.bytes_sent);
    entered_.pop_front();
    oldest_is_shown_ = false;
    moved = true;
  }
  if (!entered_.empty() && !oldest_is_shown_) {
    Place place = entered_.front().place;
    place.events = ++progress_.place_.events;
    progress_.published_.store(place);
    oldest_is_shown_ = true;
    shown_since_ = now;
  } else if (moved) {
    progress_.publish();
  }
  return !entered_.empty();
}

std::string CollectiveQueue::describe_next(const Collective& collective) const {
  return describe_place(place_of(collective, collective.group->entered.load(std::memory_order_relaxed) + 1));
}

std::string CollectiveQueue::describe_oldest() const {
  return entered_.empty() ? "" : describe_place(entered_.front().place);
}

std::string CollectiveQueue::describe_place(const Place& place) const {
  ProgressReport report = progress_.report();
  report.place = place;
  return describe(report);
}

}  // namespace octet
