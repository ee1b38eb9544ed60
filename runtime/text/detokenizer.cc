#include "runtime/text/detokenizer.h"

#include <charconv>

#include "runtime/base/check.h"
#include "runtime/base/utf8.h"

namespace octet {
namespace {

constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";  // U+2581

// Replaces every byte: called on what is known to be no character.
std::string replacements(size_t num_bytes) {
  std::string text;
  for (size_t i = 0; i < num_bytes; ++i) text += kReplacementCharacter;
  return text;
}

}  // namespace

StreamingDetokenizer::StreamingDetokenizer(const Tokenizer& tokenizer, DetokenizerOptions options)
    : tokenizer_(&tokenizer), options_(options) {}

std::string StreamingDetokenizer::add(TokenId id) {
  const TokenKind kind = tokenizer_->kind(id);
  const std::string_view piece = tokenizer_->piece(id);
  if (kind == TokenKind::kByte) {
    at_start_ = false;
    held_ += static_cast<char>(byte_of_piece(piece));
    return take_characters();
  }
  std::string text = flush();
  std::string surface;
  if (kind == TokenKind::kText) surface = surface_of_piece(piece);
  if (kind == TokenKind::kUnknown) surface = tokenizer_->unknown_surface();
  if (kind == TokenKind::kControl && options_.keep_special) surface = piece;
  if (surface.empty()) return text;
  const bool strip = at_start_ && options_.strip_leading_space && kind == TokenKind::kText && surface[0] == ' ';
  at_start_ = false;
  return text.append(surface, strip ? 1 : 0);
}

std::string StreamingDetokenizer::flush() {
  const size_t num_bytes = held_.size();
  held_.clear();
  return replacements(num_bytes);
}

std::string StreamingDetokenizer::take_characters() {
  std::string text;
  while (!held_.empty()) {
    const Utf8Prefix prefix = utf8_prefix(held_);
    if (prefix.kind == Utf8Kind::kIncomplete) break;
    if (prefix.kind == Utf8Kind::kComplete) {
      text.append(held_, 0, prefix.num_bytes);
    } else {
      text += kReplacementCharacter;
    }
    held_.erase(0, prefix.num_bytes);
  }
  return text;
}

std::string surface_of_piece(std::string_view piece) {
  std::string text;
  for (size_t at = piece.find(kSpaceSymbol); at != std::string_view::npos; at = piece.find(kSpaceSymbol)) {
    text.append(piece.substr(0, at)) += ' ';
    piece.remove_prefix(at + kSpaceSymbol.size());
  }
  return text.append(piece);
}

uint8_t byte_of_piece(std::string_view piece) {
  uint8_t byte = 0;
  OCTET_CHECK(piece.size() == 6, "byte piece '{}'", piece);
  std::from_chars(piece.data() + 3, piece.data() + 5, byte, 16);
  return byte;
}

}  // namespace octet
