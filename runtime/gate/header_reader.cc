#include "runtime/gate/header_reader.h"

#include "runtime/base/check.h"

namespace octet {
namespace {

constexpr size_t kFieldOverhead = 32;

std::string to_string(nghttp2_vec text) { return {reinterpret_cast<const char*>(text.base), text.len}; }

}  // namespace

HeaderReader::HeaderReader(size_t max_bytes) : max_bytes_(max_bytes) {
  nghttp2_hd_inflater* inflater = nullptr;
  OCTET_CHECK(nghttp2_hd_inflate_new(&inflater) == 0);
  inflater_.reset(inflater);
}

bool HeaderReader::read(std::string_view bytes, Block& block) {
  const auto* next = reinterpret_cast<const uint8_t*>(bytes.data());
  size_t left = bytes.size(), total = 0;
  for (;;) {
    nghttp2_nv field{};
    int flags = 0;
    const ssize_t taken = nghttp2_hd_inflate_hd2(inflater_.get(), &field, &flags, next, left, 1);
    if (taken < 0) return false;
    next += taken;
    left -= static_cast<size_t>(taken);
    if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
      total += field.namelen + field.valuelen + kFieldOverhead;
      block.too_large = total > max_bytes_;
      if (!block.too_large) {
        block.fields.emplace_back(to_string({field.name, field.namelen}), to_string({field.value, field.valuelen}));
      }
    }
    if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) break;
    if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0 && left == 0) break;
  }
  nghttp2_hd_inflate_end_headers(inflater_.get());
  return left == 0;
}

}  // namespace octet
