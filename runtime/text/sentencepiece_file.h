// What tokenizer.model (a serialised sentencepiece ModelProto) says about itself, read before the library is given it:
// the library trusts some of its fields enough to read out of bounds or abort.
#pragma once

#include <string_view>

#include "runtime/base/status.h"

namespace octet {

struct SentencePieceTraits {
  bool add_dummy_prefix = true;  // a space goes in front of every text that is encoded
  bool byte_fallback = false;    // characters without a piece become <0xNN> pieces
};

// Accepts what the checkpoints of this architecture have: a BPE model with the identity normaliser whose pieces are
// UTF-8. Anything else is kInvalidInput (the caller adds the path).
Result<SentencePieceTraits> read_sentencepiece_traits(std::string_view model);

}  // namespace octet
