// TextStream: the text of one output while its tokens come: detokenizer and stop strings together.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/text/detokenizer.h"
#include "runtime/text/stop_matcher.h"

namespace octet {

struct TextStreamOptions {
  std::vector<std::string> stop = {};    // end the text
  std::span<const TokenId> prompt = {};  // the text continues these tokens (an answer in a chat: none)
  bool strip_leading_space = false;      // an answer in a chat
  bool include_stop = false;             // the text ends with the stop string, not before it
  bool keep_special = false;             // control tokens appear by their names
};

// Text is released once and never taken back. The tokenizer must outlive it. One per output; not thread-safe.
class TextStream {
 public:
  // kInvalidInput for a stop string that is empty or not UTF-8.
  static Result<TextStream> create(const Tokenizer& tokenizer, const TextStreamOptions& options);

  // The text that is certain now that `id` came. Once a stop string was met, stop() names it and no more text comes.
  std::string add(TokenId id);
  // The rest, after the last token.
  std::string flush();

  const std::optional<std::string>& stop() const { return stop_; }

 private:
  TextStream(StreamingDetokenizer detokenizer, StopMatcher matcher, std::vector<std::string> stops)
      : detokenizer_(std::move(detokenizer)), matcher_(std::move(matcher)), stops_(std::move(stops)) {}
  std::string match(const std::string& text);

  StreamingDetokenizer detokenizer_;
  StopMatcher matcher_;
  std::vector<std::string> stops_;
  std::optional<std::string> stop_;
};

}  // namespace octet
