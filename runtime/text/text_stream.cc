#include "runtime/text/text_stream.h"

namespace octet {

Result<TextStream> TextStream::create(const Tokenizer& tokenizer, const TextStreamOptions& options) {
  OCTET_ASSIGN_OR_RETURN(StopMatcher matcher, StopMatcher::create(options.stop, options.include_stop));
  StreamingDetokenizer detokenizer(
      tokenizer, {.strip_leading_space = options.strip_leading_space, .keep_special = options.keep_special});
  for (const TokenId id : options.prompt) detokenizer.add(id);
  return TextStream(std::move(detokenizer), std::move(matcher), options.stop);
}

std::string TextStream::match(const std::string& text) {
  StopMatcher::Output output = matcher_.add(text);
  if (output.match) stop_ = stops_[*output.match];
  return std::move(output.text);
}

std::string TextStream::add(TokenId id) { return stop_ ? "" : match(detokenizer_.add(id)); }

std::string TextStream::flush() {
  if (stop_) return "";
  std::string text = match(detokenizer_.flush());
  return stop_ ? text : text + matcher_.flush();
}

}  // namespace octet
