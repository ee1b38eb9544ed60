#include "launcher/job/start_clock.h"

#include <fmt/format.h>

#include <algorithm>

namespace octet {
namespace {

bool has_stage(const std::vector<RankAtDesk>& ranks, RankStage stage) {
  return std::ranges::find(ranks, stage, &RankAtDesk::stage) != ranks.end();
}

// For ranks that have not started; or for the others, where some wait for them and none is busy with the model.
// A command that does not need the others never waits.
bool somebody_waits(const std::vector<RankAtDesk>& ranks) {
  return has_stage(ranks, RankStage::kMissing) ||
         (has_stage(ranks, RankStage::kJoining) && !has_stage(ranks, RankStage::kOpening));
}

// "rank 1 (host b)", "ranks 1 (host b), 2 (host c) and 40 more"
std::string names(const std::vector<RankAtDesk>& ranks, RankStage stage, const std::vector<std::string>& hosts) {
  constexpr int kMostNames = 8;
  std::string text;
  int count = 0;
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (ranks[i].stage != stage || ++count > kMostNames) continue;
    const std::string host = !ranks[i].host.empty() ? ranks[i].host : i < hosts.size() ? hosts[i] : "";
    text += (count == 1 ? "" : ", ") + std::to_string(i) + (host.empty() ? "" : " (host " + host + ")");
  }
  if (count > kMostNames) text += fmt::format(" and {} more", count - kMostNames);
  return (count == 1 ? "rank " : "ranks ") + text;
}

}  // namespace

void StartClock::look(const std::vector<RankAtDesk>& ranks, Time now) {
  if (waits_) waited_ += now - last_look_;
  waits_ = somebody_waits(ranks);
  last_look_ = now;
}

std::optional<StartClock::Time> StartClock::deadline() const {
  if (!waits_) return std::nullopt;
  return last_look_ + (limit_ - waited_);
}

std::string who_is_missing(const std::vector<RankAtDesk>& ranks, const std::vector<std::string>& hosts) {
  const auto several = [&](RankStage stage) { return std::ranges::count(ranks, stage, &RankAtDesk::stage) > 1; };
  if (has_stage(ranks, RankStage::kMissing)) {
    return names(ranks, RankStage::kMissing, hosts) + (several(RankStage::kMissing) ? " have" : " has") +
           " not started";
  }
  if (has_stage(ranks, RankStage::kStarted)) {
    return names(ranks, RankStage::kStarted, hosts) + (several(RankStage::kStarted) ? " do" : " does") +
           " not come to the others";
  }
  return names(ranks, RankStage::kJoining, hosts) + (several(RankStage::kJoining) ? " wait" : " waits") +
         " for each other";
}

}  // namespace octet
