#include "launcher/job/restart_window.h"

#include <fmt/format.h>

#include <algorithm>

namespace octet {

using std::chrono::seconds;

std::optional<seconds> RestartWindow::failed(const std::string& why, Time now) {
  while (!failures_.empty() && now - failures_.front().when >= kWindow) failures_.pop_front();
  const bool again = num_restarts() < most_;
  failures_.push_back({now, why});
  if (!again) return std::nullopt;
  seconds pause = kFirstPause;
  for (size_t i = 1; i < failures_.size() && pause < kLongestPause; ++i) pause *= 2;
  return std::min(pause, kLongestPause);
}

std::string RestartWindow::story(Time now) const {
  std::string story = fmt::format("the service failed {} times in {} minutes: ", failures_.size(), kWindow.count());
  for (const Failure& failure : failures_) {
    const auto ago = std::chrono::duration_cast<seconds>(now - failure.when).count();
    if (&failure != &failures_.front()) story += "; ";
    story += ago > 0 ? fmt::format("{} s ago: ", ago) : "now: ";
    story += failure.why;
  }
  return story;
}

}  // namespace octet
