#include "runtime/text/text_cutter.h"

namespace octet {
namespace {

bool is_ascii(char c) { return static_cast<unsigned char>(c) < 0x80; }

size_t pair_index(char first, char second) {
  return size_t{128} * static_cast<unsigned char>(first) + static_cast<unsigned char>(second);
}

}  // namespace

void TextCutter::add_piece(std::string_view surface) {
  for (size_t i = 1; i < surface.size(); ++i) {
    if (is_ascii(surface[i - 1]) && is_ascii(surface[i])) joined_.set(pair_index(surface[i - 1], surface[i]));
  }
}

size_t TextCutter::first_part(std::string_view text, size_t min_bytes) const {
  for (size_t i = min_bytes; i < text.size(); ++i) {
    const bool ascii = is_ascii(text[i - 1]) && is_ascii(text[i]);
    if (ascii && !joined_.test(pair_index(text[i - 1], text[i]))) return i;
  }
  return text.size();
}

}  // namespace octet
