#include "runtime/base/quote.h"

#include <fmt/format.h>

namespace octet {
namespace {

constexpr size_t kMaxBytes = 120;

bool is_utf8_continuation(char c) { return (static_cast<unsigned char>(c) & 0xc0U) == 0x80U; }

}  // namespace

std::string quote(std::string_view text) {
  size_t length = text.size();
  if (length > kMaxBytes) {
    length = kMaxBytes;
    while (length > 0 && is_utf8_continuation(text[length])) --length;
  }
  std::string result = "'";
  for (const char c : text.substr(0, length)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      result += fmt::format("\\x{:02x}", byte);
    } else {
      if (c == '\'' || c == '\\') result += '\\';
      result += c;
    }
  }
  return result + (length < text.size() ? "...'" : "'");
}

}  // namespace octet
