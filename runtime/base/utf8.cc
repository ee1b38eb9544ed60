#include "runtime/base/utf8.h"

#include <algorithm>

namespace octet {
namespace {

// Bytes of the character that `lead` begins; 0: none.
size_t sequence_length(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 0;
}

// The second byte carries all that makes a form overlong, a surrogate or too large.
bool second_byte_fits(unsigned char lead, unsigned char second) {
  const unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  return second >= low && second <= high;
}

}  // namespace

Utf8Prefix utf8_prefix(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const size_t length = sequence_length(lead);
  if (length == 0) return {};
  for (size_t i = 1; i < std::min(length, text.size()); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (i == 1 ? !second_byte_fits(lead, byte) : (byte & 0xC0) != 0x80) return {};
  }
  if (text.size() < length) return {Utf8Kind::kIncomplete, text.size()};
  return {Utf8Kind::kComplete, length};
}

bool is_valid_utf8(std::string_view text) {
  while (!text.empty()) {
    const Utf8Prefix prefix = utf8_prefix(text);
    if (prefix.kind != Utf8Kind::kComplete) return false;
    text.remove_prefix(prefix.num_bytes);
  }
  return true;
}

void drop_byte_order_mark(std::string& text) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  if (text.starts_with(kMark)) text.erase(0, kMark.size());
}

}  // namespace octet
