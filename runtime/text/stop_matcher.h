// Stop strings in a stream of text.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"

namespace octet {

// Ends a text at the first moment at which it ends with one of several stop strings, wherever its chunks are cut, and
// releases text as soon as it cannot be part of one. Where several stop strings end at the same place, the longest
// counts. Released text is never taken back and, as the chunks are, valid UTF-8. Work: one step per byte and stop
// string. Not thread-safe; one per stream.
class StopMatcher {
 public:
  struct Output {
    std::string text;             // may be shown now
    std::optional<size_t> match;  // the stop string that ended the text: its place in `stops`
  };

  // `include_stop`: the text that is shown ends with the stop string, not before it. A stop string that is empty or not
  // UTF-8 is refused with kInvalidInput.
  static Result<StopMatcher> create(const std::vector<std::string>& stops, bool include_stop = false);

  // Takes the next text (whole characters). After a match everything further is ignored.
  Output add(std::string_view text);
  // The text still held, once no more comes: it turned out to be no stop string.
  std::string flush();

 private:
  // A stop string and how much of it the text ends with, after Knuth, Morris and Pratt.
  struct Pattern {
    std::string text;
    std::vector<size_t> border;  // [i]: the longest proper prefix of text[0, i] that is also its suffix
    size_t num_matched = 0;

    explicit Pattern(std::string stop);
    void advance(char next);
    bool complete() const { return num_matched == text.size(); }
  };

  StopMatcher() = default;
  // The longest stop string with which the text ends now.
  std::optional<size_t> longest_match() const;

  std::vector<Pattern> patterns_;
  bool include_stop_ = false;
  bool matched_ = false;
  std::string held_;  // the end of the text so far, with which some stop string begins
};

}  // namespace octet
