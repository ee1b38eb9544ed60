// Any bytes of a client, cut anywhere and mixed with any of the library's: what goes on to the library is whole frames
// within their bounds, what is kept is bounded, and what one piece held is what many pieces hold.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "runtime/base/check.h"
#include "runtime/gate/http2_filter.h"

namespace octet {
namespace {

constexpr int64_t kMaxHeld = 64 << 20;

// Headers and DATA are within what the library is to see.
void check_frames(std::string_view bytes) {
  if (!bytes.starts_with(kPreface)) {
    OCTET_CHECK(bytes.empty());
    return;
  }
  bytes.remove_prefix(kPreface.size());
  while (!bytes.empty()) {
    OCTET_CHECK(bytes.size() >= kFrameHeadBytes);
    const FrameHead head = parse_frame_head(bytes);
    OCTET_CHECK(head.length <= kMaxFrameBytes && bytes.size() >= kFrameHeadBytes + head.length);
    OCTET_CHECK(head.type != FrameType::kContinuation && head.type != FrameType::kPushPromise);
    bytes.remove_prefix(kFrameHeadBytes + head.length);
  }
}

// Also what waits because there is much waste in it.
bool take_all(Http2Filter& filter, std::string_view bytes) {
  bool goes_on = filter.take_from_client(bytes);
  while (goes_on && filter.has_more()) {
    OCTET_CHECK(filter.take_waste() > 0);
    goes_on = filter.take_from_client({});
  }
  return goes_on;
}

}  // namespace
}  // namespace octet

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace octet;
  static const FilterOptions options{.max_message_bytes = [](std::string_view) { return size_t{1} << 16; },
                                     .max_streams = 16};
  Http2Filter whole(options), pieces(options);
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string settings = make_frame(FrameType::kSettings, 0, 0, "");
  const std::string client = std::string(kPreface) + settings + std::string(bytes);
  const bool goes_on = take_all(whole, client);
  check_frames(whole.to_server());
  OCTET_CHECK(whole.held_bytes() >= 0 && whole.held_bytes() <= kMaxHeld);
  bool pieces_go_on = true;
  for (size_t at = 0, step = 1; pieces_go_on && at < client.size(); at += step, step = step * 5 % 97 + 1) {
    pieces_go_on = take_all(pieces, std::string_view(client).substr(at, step));
  }
  OCTET_CHECK(pieces_go_on == goes_on && pieces.to_server() == whole.to_server());
  whole.take_from_server(bytes);
  whole.refuse_unfinished(Http2Filter::Clock::time_point::max(), {8, "late", {}});
  OCTET_CHECK(whole.held_bytes() >= 0);
  return 0;
}
