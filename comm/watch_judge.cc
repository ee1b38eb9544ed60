#include "comm/watch_judge.h"

#include <fmt/format.h>

#include <algorithm>

namespace octet {
namespace {

double seconds(WatchJudge::Time time) { return std::chrono::duration<double>(time).count(); }

}  // namespace

WatchJudge::WatchJudge(int self, std::vector<std::string> hosts, std::span<const int> watched,
                       const WatchLimits& limits, Time now)
    : self_(static_cast<size_t>(self)),
      sees_all_(watched.size() + 1 == hosts.size()),
      limits_(limits),
      ranks_(hosts.size()),
      last_event_(now) {
  for (size_t i = 0; i < hosts.size(); ++i) ranks_[i].host = std::move(hosts[i]);
  for (const int rank : watched) {
    ranks_[static_cast<size_t>(rank)].watched = true;
    ranks_[static_cast<size_t>(rank)].last_heard = now;
  }
}

void WatchJudge::heard(int rank, ProgressReport report, Time now) {
  Watched& speaker = ranks_[static_cast<size_t>(rank)];
  const bool moved = report.place.events != speaker.report.place.events;
  speaker.report = std::move(report);
  speaker.last_heard = now;
  if (moved || std::ranges::none_of(ranks_, [this](const Watched& other) { return is_blocked(other); })) {
    last_event_ = now;
  }
}

void WatchJudge::lost(int rank, Time now) {
  Watched& gone = ranks_[static_cast<size_t>(rank)];
  if (gone.watched && !gone.lost_at) gone.lost_at = now;
}

void WatchJudge::left(int rank) {
  Watched& gone = ranks_[static_cast<size_t>(rank)];
  gone.watched = false;
  gone.report.place.kind = CollectiveKind::kNone;
}

std::optional<JobFailure> WatchJudge::verdict(Time now) const {
  for (size_t i = 0; i < ranks_.size(); ++i) {
    const Watched& rank = ranks_[i];
    if (!rank.watched) continue;
    if (rank.lost_at && now - *rank.lost_at >= kLostGrace) {
      return failure(i, "died: its connection closed without a goodbye" + last_seen(i));
    }
    const Time silent = silence(static_cast<int>(i), now);
    if (!rank.lost_at && silent > limits_.silence) {
      JobFailure found = failure(i, fmt::format("has been silent for {:.1f} s", seconds(silent)) + last_seen(i));
      found.silent = true;
      return found;
    }
  }
  return sees_all_ ? collective_verdict(now) : std::nullopt;
}

WatchJudge::Time WatchJudge::silence(int rank, Time now) const {
  const Watched& watched = ranks_[static_cast<size_t>(rank)];
  return watched.watched ? now - watched.last_heard : Time(0);
}

std::string WatchJudge::name(size_t rank) const { return fmt::format("rank {} (host {})", rank, ranks_[rank].host); }

std::string WatchJudge::last_seen(size_t rank) const {
  return fmt::format("; last seen in {}; rank {} is in {}", describe(ranks_[rank].report), self_,
                     describe(ranks_[self_].report));
}

JobFailure WatchJudge::failure(size_t rank, const std::string& what) const {
  return {.exit_code = Status(StatusCode::kRankLost, "").exit_code(),
          .rank = static_cast<int>(rank),
          .line = name(rank) + " " + what};
}

// In a collective that should end by itself: waiting for a plan while rank 0 has no request is no hang.
bool WatchJudge::is_blocked(const Watched& rank) const {
  const Place& place = rank.report.place;
  if (place.kind == CollectiveKind::kNone) return false;
  return place.phase != Phase::kPlan ||
         std::ranges::none_of(ranks_, [](const Watched& other) { return other.report.place.idle; });
}

// Members of the group that `waiting` waits in which have entered fewer of its collectives.
std::vector<size_t> WatchJudge::not_entered(const Watched& waiting) const {
  const GroupReport& group = waiting.report.groups[waiting.report.place.group];
  std::vector<size_t> missing;
  for (const int member : group.members) {
    const auto& others = ranks_[static_cast<size_t>(member)].report.groups;
    const auto same = std::ranges::find(others, group.key, &GroupReport::key);
    if (same == others.end() || same->entered < waiting.report.place.sequence) {
      missing.push_back(static_cast<size_t>(member));
    }
  }
  return missing;
}

JobFailure WatchJudge::stuck(size_t waiting, const std::vector<size_t>& missing, Time since) const {
  std::string line = fmt::format("has waited for {:.1f} s in {}", seconds(since), describe(ranks_[waiting].report));
  line += missing.empty() ? "; all ranks have entered it" : "; not entered by ";
  for (size_t i = 0; i < missing.size(); ++i) {
    line += fmt::format("{}{}, in {}", i == 0 ? "" : ", ", name(missing[i]), describe(ranks_[missing[i]].report));
  }
  return failure(waiting, line);
}

// Among those that wait, the one to tell of is one that waits for a rank that is not itself waiting.
std::optional<JobFailure> WatchJudge::collective_verdict(Time now) const {
  if (now - last_event_ <= limits_.collective) return std::nullopt;
  std::optional<JobFailure> second_best;
  for (size_t i = 0; i < ranks_.size(); ++i) {
    if (!is_blocked(ranks_[i])) continue;
    const std::vector<size_t> missing = not_entered(ranks_[i]);
    const JobFailure story = stuck(i, missing, now - last_event_);
    if (std::ranges::any_of(missing, [this](size_t rank) { return !is_blocked(ranks_[rank]); })) return story;
    if (!second_best || !missing.empty()) second_best = story;
  }
  return second_best;
}

}  // namespace octet
