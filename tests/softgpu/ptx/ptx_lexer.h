// Splits PTX source into tokens (PTX ISA 4.1 - 4.5).
#pragma once

#include <string_view>
#include <vector>

#include "tests/softgpu/base/common.h"

namespace octet::softgpu {

struct Token {
  enum class Kind : u8 {
    kWord,        // identifier, register, special register with its component (%tid.x)
    kDotWord,     // directive or modifier, including the dot: .reg  .rn  .L2::128B
    kInteger,     // bits holds the value
    kFloat,       // bits holds the value as an IEEE double
    kSingleBits,  // 0f3F800000: bits holds the 32 bits of a float
    kDoubleBits,  // 0d3FF0000000000000
    kString,
    kPunctuation,  // one character
    kEnd,
  };
  Kind kind;
  std::string_view text;
  u32 line;
  u64 bits = 0;
};

// Tokenises `source`, which must outlive the tokens.
std::vector<Token> tokenize(std::string_view source);

}  // namespace octet::softgpu
