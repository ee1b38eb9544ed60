// Cuts long text where no piece of a vocabulary can reach across, so that encoding the parts one by one gives the ids
// of the whole. A BPE encoder keeps all pairs of its text in one heap: parts that fit the cache are several times
// faster.
#pragma once

#include <bitset>
#include <cstddef>
#include <string_view>

namespace octet {

class TextCutter {
 public:
  // Notes what `surface`, the text of one piece, joins. To be called for every piece.
  void add_piece(std::string_view surface);

  // Bytes of the first part of `text`: the least length from `min_bytes` on at which it may be cut, else all of it.
  // Cuts are between two ASCII bytes only, which no normalisation and no damaged UTF-8 can change.
  size_t first_part(std::string_view text, size_t min_bytes) const;

 private:
  // Whether some piece has these two ASCII bytes side by side, at 128 · first + second.
  std::bitset<size_t{128} * 128> joined_;
};

}  // namespace octet
