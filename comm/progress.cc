#include "comm/progress.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "runtime/base/check.h"
#include "runtime/base/hash.h"

namespace octet {

std::string_view phase_name(Phase phase) {
  static constexpr std::array<std::string_view, kNumPhases> kNames = {
      "start", "plan", "gather", "reduce", "dispatch counts", "dispatch", "expert reduce", "combine", "logits"};
  return kNames[static_cast<size_t>(phase)];
}

std::string_view collective_name(CollectiveKind kind) {
  static constexpr std::array<std::string_view, 8> kNames = {
      "no collective", "broadcast",  "gather",         "all_gather_v",
      "all_to_all_v",  "all_reduce", "reduce_scatter", "the making of communicator"};
  return kNames[static_cast<size_t>(kind)];
}

std::string describe(const ProgressReport& report) {
  const Place& place = report.place;
  std::string text = place.layer == kNoLayer ? "" : fmt::format("layer {}, ", place.layer);
  text += phase_name(place.phase);
  if (place.kind == CollectiveKind::kNone) return text + (place.idle ? ": waiting for requests" : ": computing");
  text += fmt::format(": in {} number {}", collective_name(place.kind), place.sequence);
  if (place.group < report.groups.size()) {
    text += fmt::format(" of ranks {}", fmt::join(report.groups[place.group].members, " "));
  }
  return text + fmt::format(", received {} of {} bytes and {} of {} peers", place.received_bytes, place.expected_bytes,
                            place.received_peers, place.expected_peers);
}

void CommProgress::publish() {
  ++place_.events;
  published_.store(place_);
}

void CommProgress::set_place(int layer, Phase phase) {
  place_.layer = layer;
  place_.phase = phase;
  publish();
}

void CommProgress::tick() { publish(); }

void CommProgress::set_idle(bool idle) {
  place_.idle = idle;
  publish();
}

ProgressReport CommProgress::report() const {
  ProgressReport report;
  const std::lock_guard lock(groups_mutex_);
  report.place = published_.load();
  for (const Group& group : groups_) {
    report.groups.push_back({group.key, group.members, group.entered.load(std::memory_order_relaxed)});
  }
  return report;
}

std::array<PhaseTotals, kNumPhases> CommProgress::totals() const {
  std::array<PhaseTotals, kNumPhases> totals;
  for (size_t i = 0; i < kNumPhases; ++i) {
    totals[i].num_collectives = totals_[i].num_collectives.load(std::memory_order_relaxed);
    totals[i].nanoseconds = totals_[i].nanoseconds.load(std::memory_order_relaxed);
    totals[i].bytes_sent = totals_[i].bytes_sent.load(std::memory_order_relaxed);
    for (size_t bucket = 0; bucket < totals[i].num_by_time.size(); ++bucket) {
      totals[i].num_by_time[bucket] = totals_[i].num_by_time[bucket].load(std::memory_order_relaxed);
    }
  }
  return totals;
}

CommProgress::Group& CommProgress::add_group(std::span<const int> members) {
  const std::lock_guard lock(groups_mutex_);
  const uint64_t num_alike = static_cast<uint64_t>(
      std::ranges::count_if(groups_, [&](const Group& group) { return std::ranges::equal(group.members, members); }));
  Group& group = groups_.emplace_back();
  group.index = static_cast<uint32_t>(groups_.size() - 1);
  group.members.assign(members.begin(), members.end());
  group.key = hash_bytes(std::as_bytes(std::span(&num_alike, 1)), hash_bytes(std::as_bytes(members)));
  return group;
}

void CommProgress::add_to_totals(Phase phase, std::chrono::nanoseconds elapsed, int64_t bytes_sent) {
  Totals& totals = totals_[static_cast<size_t>(phase)];
  totals.num_collectives.fetch_add(1, std::memory_order_relaxed);
  totals.nanoseconds.fetch_add(elapsed.count(), std::memory_order_relaxed);
  totals.bytes_sent.fetch_add(bytes_sent, std::memory_order_relaxed);
  const auto bound = std::ranges::lower_bound(kCollectiveSeconds, std::chrono::duration<double>(elapsed).count());
  const auto bucket = static_cast<size_t>(bound - kCollectiveSeconds.begin());
  totals.num_by_time[bucket].fetch_add(1, std::memory_order_relaxed);
}

CollectiveScope::CollectiveScope(CommProgress& progress, CommProgress::Group& group, CollectiveKind kind,
                                 int64_t expected_bytes, int expected_peers)
    : progress_(progress), begin_(std::chrono::steady_clock::now()) {
  Place& place = progress.place_;
  OCTET_CHECK(place.kind == CollectiveKind::kNone, "a collective within {}", collective_name(place.kind));
  place.kind = kind;
  place.group = group.index;
  place.sequence = group.entered.fetch_add(1, std::memory_order_relaxed) + 1;
  place.expected_bytes = static_cast<uint64_t>(expected_bytes);
  place.expected_peers = static_cast<uint32_t>(expected_peers);
  place.received_bytes = place.received_peers = 0;
  progress.publish();
}

CollectiveScope::~CollectiveScope() {
  progress_.add_to_totals(progress_.place_.phase, std::chrono::steady_clock::now() - begin_, bytes_sent_);
  progress_.place_.kind = CollectiveKind::kNone;
  progress_.publish();
}

void CollectiveScope::received(int64_t num_bytes, int num_peers) {
  progress_.place_.received_bytes += static_cast<uint64_t>(num_bytes);
  progress_.place_.received_peers += static_cast<uint32_t>(num_peers);
  progress_.publish();
}

}  // namespace octet
