// What UTF-8 says about the start of a byte string (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace octet {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

enum class Utf8Kind {
  kComplete,    // starts with a whole character
  kIncomplete,  // every byte so far fits; more are needed
  kInvalid,     // the first byte begins no character, whatever follows
};

struct Utf8Prefix {
  Utf8Kind kind = Utf8Kind::kInvalid;
  size_t num_bytes = 1;  // of the character where complete, of the whole text where incomplete, 1 where invalid
};

// REQUIRES: text is not empty.
Utf8Prefix utf8_prefix(std::string_view text);

bool is_valid_utf8(std::string_view text);

// Takes a byte order mark, which editors put there, off the beginning of a file's text.
void drop_byte_order_mark(std::string& text);

}  // namespace octet
