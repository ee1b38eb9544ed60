// Token ids to text while they are being generated.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "runtime/text/tokenizer.h"

namespace octet {

struct DetokenizerOptions {
  bool strip_leading_space = false;  // the first text loses one leading space (an answer in a chat)
  bool keep_special = false;         // control tokens appear as the vocabulary writes them, instead of vanishing
};

// Releases text as soon as no later token can change it: only the bytes of a character that is not complete yet are
// held. What was released is never taken back, and all of it joined is what Tokenizer::decode gives for the ids (with
// strip_leading_space; without it, what the ids add to a text before them). Holds at most 3 bytes. The tokenizer must
// outlive it. Not thread-safe; one per stream.
class StreamingDetokenizer {
 public:
  StreamingDetokenizer(const Tokenizer& tokenizer, DetokenizerOptions options = {});

  // The text that is certain now that `id` came: valid UTF-8, often empty.
  std::string add(TokenId id);
  // The rest, after the last token: each byte of an incomplete character becomes U+FFFD.
  std::string flush();

 private:
  // Whole characters of the held bytes; bytes that can be part of none become U+FFFD, one each.
  std::string take_characters();

  const Tokenizer* tokenizer_;
  DetokenizerOptions options_;
  bool at_start_ = true;  // no text yet, released or held
  std::string held_;      // bytes of byte tokens that may become a character
};

// The text of a vocabulary piece of kind kText: U+2581 stands for a space.
std::string surface_of_piece(std::string_view piece);
// The byte of a piece <0xNN>. REQUIRES: the piece is of kind kByte.
uint8_t byte_of_piece(std::string_view piece);

}  // namespace octet
