#include "runtime/gate/http2_frames.h"

#include <string>

#include "runtime/base/percent.h"

namespace octet {
namespace {

constexpr char kLiteralWithNewName = 0x00;  // neither indexed, nor to be (RFC 7541, 6.2.2)
constexpr char kStatus200 = static_cast<char>(0x88);

void append_uint(std::string& to, uint64_t value, int num_bytes) {
  for (int i = num_bytes - 1; i >= 0; --i) to += static_cast<char>(value >> (8 * i));
}

// An integer with a prefix of 7 bits, whose first bit says that no Huffman code follows (RFC 7541, 5.1 and 5.2).
void append_string(std::string& block, std::string_view text) {
  size_t length = text.size();
  if (length < 127) {
    block += static_cast<char>(length);
  } else {
    block += 127;
    for (length -= 127; length >= 128; length >>= 7) block += static_cast<char>(length % 128 + 128);
    block += static_cast<char>(length);
  }
  block += text;
}

// What a grpc-message shows as it is: printable ASCII.
bool stays_in_message(char c) { return c >= 0x20 && c <= 0x7e && c != '%'; }

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const std::string_view group = bytes.substr(i, 3);
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k) bits = bits << 8 | (k < group.size() ? static_cast<unsigned char>(group[k]) : 0U);
    for (size_t k = 0; k <= group.size(); ++k) text += kDigits[bits >> (18 - 6 * k) & 63];
  }
  return text;  // padding may be left out
}

}  // namespace

uint32_t read_uint32(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

FrameHead parse_frame_head(std::string_view bytes) {
  FrameHead head;
  head.length = read_uint32(bytes) >> 8;
  head.type = static_cast<FrameType>(bytes[3]);
  head.flags = static_cast<uint8_t>(bytes[4]);
  head.stream = read_uint32(bytes.substr(5)) & 0x7fff'ffff;
  return head;
}

std::string make_frame(FrameType type, uint8_t flags, uint32_t stream, std::string_view payload) {
  std::string frame;
  frame.reserve(kFrameHeadBytes + payload.size());
  append_uint(frame, payload.size(), 3);
  frame += static_cast<char>(type);
  frame += static_cast<char>(flags);
  append_uint(frame, stream, 4);
  frame += payload;
  return frame;
}

std::string make_rst_stream(uint32_t stream, Http2Error error) {
  std::string payload;
  append_uint(payload, static_cast<uint32_t>(error), 4);
  return make_frame(FrameType::kRstStream, 0, stream, payload);
}

std::string make_window_update(uint32_t stream, uint32_t increment) {
  std::string payload;
  append_uint(payload, increment, 4);
  return make_frame(FrameType::kWindowUpdate, 0, stream, payload);
}

std::string make_goaway(uint32_t last_stream, Http2Error error, std::string_view why) {
  std::string payload;
  append_uint(payload, last_stream, 4);
  append_uint(payload, static_cast<uint32_t>(error), 4);
  payload += why;
  return make_frame(FrameType::kGoaway, 0, 0, payload);
}

void append_field(std::string& block, std::string_view name, std::string_view value) {
  block += kLiteralWithNewName;
  append_string(block, name);
  append_string(block, value);
}

std::string make_answer(uint32_t stream, int grpc_status, std::string_view message, std::string_view details) {
  std::string block(1, kStatus200);
  append_field(block, "content-type", "application/grpc");
  append_field(block, "grpc-status", std::to_string(grpc_status));
  append_field(block, "grpc-message", percent_encode(message, stays_in_message));
  if (!details.empty()) append_field(block, "grpc-status-details-bin", base64(details));
  return make_frame(FrameType::kHeaders, kEndHeaders | kEndStream, stream, block);
}

}  // namespace octet
