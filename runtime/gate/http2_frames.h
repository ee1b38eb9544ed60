// Frames of HTTP/2 (RFC 9113) and messages of gRPC on the wire: what the gate reads and writes itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace octet {

enum class FrameType : uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kRstStream = 3,
  kSettings = 4,
  kPushPromise = 5,
  kPing = 6,
  kGoaway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
};

enum class Http2Error : uint32_t {
  kNone = 0,
  kProtocol = 1,
  kFrameSize = 6,
  kRefusedStream = 7,
  kCancel = 8,
  kCompression = 9,
  kEnhanceYourCalm = 11,
};

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr size_t kFrameHeadBytes = 9;
constexpr uint32_t kMaxFrameBytes = 16'384;  // of a payload, as no side asks for more

constexpr uint8_t kEndStream = 0x1;  // of DATA and HEADERS
constexpr uint8_t kAck = 0x1;        // of SETTINGS and PING
constexpr uint8_t kEndHeaders = 0x4;
constexpr uint8_t kPadded = 0x8;
constexpr uint8_t kHasPriority = 0x20;

struct FrameHead {
  uint32_t length = 0;  // of the payload
  FrameType type = FrameType::kData;
  uint8_t flags = 0;
  uint32_t stream = 0;

  bool has(uint8_t flag) const { return (flags & flag) != 0; }
};

// Of the first kFrameHeadBytes bytes.
FrameHead parse_frame_head(std::string_view bytes);
uint32_t read_uint32(std::string_view bytes);

std::string make_frame(FrameType type, uint8_t flags, uint32_t stream, std::string_view payload);
std::string make_rst_stream(uint32_t stream, Http2Error error);
std::string make_window_update(uint32_t stream, uint32_t increment);
// With the advice that no stream was taken from it on: clients try again elsewhere.
std::string make_goaway(uint32_t last_stream, Http2Error error, std::string_view why);

// A header field of a block that touches no dynamic table.
void append_field(std::string& block, std::string_view name, std::string_view value);
// A whole answer: its stream ends with this status of gRPC. `details`: of grpc-status-details-bin; empty: none.
std::string make_answer(uint32_t stream, int grpc_status, std::string_view message, std::string_view details);

}  // namespace octet
