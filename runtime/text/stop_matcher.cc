#include "runtime/text/stop_matcher.h"

#include <algorithm>
#include <utility>

#include "runtime/base/utf8.h"

namespace octet {

StopMatcher::Pattern::Pattern(std::string stop) : text(std::move(stop)), border(text.size()) {
  for (size_t i = 1, length = 0; i < text.size(); ++i) {
    while (length > 0 && text[i] != text[length]) length = border[length - 1];
    if (text[i] == text[length]) ++length;
    border[i] = length;
  }
}

// REQUIRES: not complete.
void StopMatcher::Pattern::advance(char next) {
  while (num_matched > 0 && text[num_matched] != next) num_matched = border[num_matched - 1];
  if (text[num_matched] == next) ++num_matched;
}

Result<StopMatcher> StopMatcher::create(const std::vector<std::string>& stops, bool include_stop) {
  StopMatcher matcher;
  matcher.include_stop_ = include_stop;
  for (const std::string& stop : stops) {
    if (stop.empty()) return invalid_input("a stop string is empty");
    if (!is_valid_utf8(stop)) return invalid_input("a stop string is not UTF-8");
    matcher.patterns_.emplace_back(stop);
  }
  return matcher;
}

std::optional<size_t> StopMatcher::longest_match() const {
  std::optional<size_t> longest;
  for (size_t i = 0; i < patterns_.size(); ++i) {
    const bool longer = !longest || patterns_[i].text.size() > patterns_[*longest].text.size();
    if (patterns_[i].complete() && longer) longest = i;
  }
  return longest;
}

StopMatcher::Output StopMatcher::add(std::string_view text) {
  if (matched_) return {};
  for (const char next : text) {
    held_ += next;
    for (Pattern& pattern : patterns_) pattern.advance(next);
    if (const auto match = longest_match()) {
      matched_ = true;
      const size_t num_hidden = include_stop_ ? 0 : patterns_[*match].text.size();
      held_.resize(held_.size() - num_hidden);
      return {std::exchange(held_, {}), match};
    }
  }
  size_t num_held = 0;
  for (const Pattern& pattern : patterns_) num_held = std::max(num_held, pattern.num_matched);
  Output output{held_.substr(0, held_.size() - num_held), std::nullopt};
  held_.erase(0, held_.size() - num_held);
  return output;
}

std::string StopMatcher::flush() { return std::exchange(held_, {}); }

}  // namespace octet
