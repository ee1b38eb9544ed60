#include "runtime/base/quote.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/base/utf8.h"

namespace octet {
namespace {

constexpr size_t kMaxQuotedBytes = 120;
constexpr size_t kMaxWordBytes = 128;

bool is_utf8_continuation(char c) { return (static_cast<unsigned char>(c) & 0xc0U) == 0x80U; }

// Of a valid character: controls of ASCII and C1, and what ends or turns a line where Unicode is understood.
bool is_control(std::string_view character) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(character[i]); };
  if (character.size() == 1) return byte(0) < 0x20 || byte(0) == 0x7f;
  if (character.size() == 2) return (byte(0) == 0xc2 && byte(1) < 0xa0) || (byte(0) == 0xd8 && byte(1) == 0x9c);
  if (character.size() != 3 || byte(0) != 0xe2) return false;
  if (byte(1) == 0x80) return byte(2) == 0x8e || byte(2) == 0x8f || (byte(2) >= 0xa8 && byte(2) <= 0xae);
  return byte(1) == 0x81 && byte(2) >= 0xa6 && byte(2) <= 0xa9;
}

std::string escape(std::string_view text, std::string_view also) {
  std::string result;
  while (!text.empty()) {
    const Utf8Prefix prefix = utf8_prefix(text);
    const std::string_view character = text.substr(0, prefix.num_bytes);
    text.remove_prefix(prefix.num_bytes);
    if (prefix.kind != Utf8Kind::kComplete || is_control(character)) {
      for (const char c : character) result += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      if (also.find(character) != std::string_view::npos) result += '\\';
      result += character;
    }
  }
  return result;
}

}  // namespace

std::string_view cut_text(std::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  size_t length = max_bytes;
  while (length > 0 && is_utf8_continuation(text[length])) --length;
  return text.substr(0, length);
}

std::string quote(std::string_view text) {
  const std::string_view kept = cut_text(text, kMaxQuotedBytes);
  return "'" + escape(kept, "'\\") + (kept.size() < text.size() ? "...'" : "'");
}

std::string escape_line(std::string_view text, size_t max_bytes) {
  const std::string_view kept = cut_text(text, max_bytes);
  return escape(kept, "") + (kept.size() < text.size() ? "..." : "");
}

bool is_plain_word(std::string_view text) {
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("-._:/@+").find(c) != std::string_view::npos;
  };
  return !text.empty() && text.size() <= kMaxWordBytes && std::ranges::all_of(text, is_plain);
}

}  // namespace octet
