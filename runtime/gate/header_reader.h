// HeaderReader: the header blocks of one connection, as HPACK packs them (RFC 7541).
#pragma once

#include <nghttp2/nghttp2.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace octet {

using HeaderFields = std::vector<std::pair<std::string, std::string>>;

// One thread at a time.
class HeaderReader {
 public:
  // `max_bytes`: of a block's fields, counted as RFC 9113, 6.5.2 does.
  explicit HeaderReader(size_t max_bytes);

  struct Block {
    HeaderFields fields;
    bool too_large = false;  // then only the first fields are in it
  };
  // Reads a whole block into `block`; whether it is one. Blocks are read in the order of their arrival, also those that
  // nobody cares for: each changes the table that the next one refers to.
  bool read(std::string_view bytes, Block& block);

 private:
  struct Deleter {
    void operator()(nghttp2_hd_inflater* inflater) const { nghttp2_hd_inflate_del(inflater); }
  };
  const size_t max_bytes_;
  std::unique_ptr<nghttp2_hd_inflater, Deleter> inflater_;
};

}  // namespace octet
