#include "runtime/gate/http2_filter.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "runtime/gate/address_account.h"

namespace octet {
namespace {

constexpr int64_t kStreamBytes = 16 << 10;   // what gRPC keeps for a call
constexpr size_t kMaxBlockBytes = 32 << 10;  // of a header block as it is sent
constexpr int kMaxBlockFrames = 32;          // of which it is made
constexpr size_t kMessageHeadBytes = 5;      // a flag and a length

// Codes of gRPC.
constexpr int kUnimplemented = 12;

std::string_view field(const HeaderFields& fields, std::string_view name) {
  const auto found = std::ranges::find(fields, name, &HeaderFields::value_type::first);
  return found == fields.end() ? std::string_view() : std::string_view(found->second);
}

}  // namespace

Http2Filter::Http2Filter(const FilterOptions& options) : options_(options), reader_(options.max_header_bytes) {}

int64_t Http2Filter::held_bytes() const { return std::ssize(streams_) * kStreamBytes + message_bytes_; }

double Http2Filter::take_waste() { return std::exchange(waste_, 0); }

bool Http2Filter::take_from_client(std::string_view bytes) {
  inbox_ += bytes;
  std::string_view left = inbox_;
  if (!prefaced_) {
    if (!kPreface.starts_with(left.substr(0, kPreface.size()))) {
      waste_ += waste::kFault;  // it speaks something else
      return false;
    }
    if (left.size() < kPreface.size()) return true;
    prefaced_ = true;
    to_server_ += kPreface;
    left.remove_prefix(kPreface.size());
  }
  has_more_ = false;
  while (left.size() >= kFrameHeadBytes) {
    if (waste_ >= waste::kAtOnce) {
      has_more_ = true;
      break;
    }
    const FrameHead head = parse_frame_head(left);
    if (head.length > kMaxFrameBytes) return fail(Http2Error::kFrameSize, "the frame is too large");
    const size_t size = kFrameHeadBytes + head.length;
    if (left.size() < size) break;
    if (!take_frame(head, left.substr(0, size))) return false;
    left.remove_prefix(size);
  }
  inbox_.erase(0, inbox_.size() - left.size());
  return true;
}

bool Http2Filter::take_frame(const FrameHead& head, std::string_view frame) {
  const std::string_view payload = frame.substr(kFrameHeadBytes);
  if (!greeted_ && head.type != FrameType::kSettings) return fail(Http2Error::kProtocol, "SETTINGS come first");
  if ((block_stream_ != 0) != (head.type == FrameType::kContinuation)) {
    return fail(Http2Error::kProtocol, "a header block is one sequence of frames");
  }
  switch (head.type) {
    case FrameType::kData:
      return take_data(head, frame);
    case FrameType::kHeaders:
      return take_headers(head, payload);
    case FrameType::kContinuation:
      return take_continuation(head, payload);
    case FrameType::kRstStream:
      if (const auto stream = streams_.find(head.stream); stream != streams_.end()) {
        to_server_ += frame;
        forget(stream);
      } else {
        waste_ += waste::kControl;
      }
      return true;
    case FrameType::kSettings:
      greeted_ = true;
      waste_ += head.has(kAck) ? waste::kControl : waste::kSettings;
      to_server_ += frame;
      return true;
    case FrameType::kPing:
      waste_ += head.has(kAck) ? waste::kControl : waste::kPing;
      to_server_ += frame;
      return true;
    case FrameType::kWindowUpdate:
      waste_ += waste::kControl;
      if (head.stream == 0 || streams_.contains(head.stream)) to_server_ += frame;
      return true;
    case FrameType::kGoaway:
      waste_ += waste::kPing;
      to_server_ += frame;
      return true;
    case FrameType::kPushPromise:
      return fail(Http2Error::kProtocol, "a client pushes nothing");
    case FrameType::kPriority:
      break;
  }
  waste_ += waste::kControl;  // nobody here heeds it
  return true;
}

bool Http2Filter::take_data(const FrameHead& head, std::string_view frame) {
  const std::string_view payload = frame.substr(kFrameHeadBytes);
  if (head.stream == 0 || head.stream > last_stream_) return fail(Http2Error::kProtocol, "DATA of no stream");
  if (head.has(kPadded)) return fail(Http2Error::kProtocol, "padded DATA are not taken");
  if (payload.empty()) waste_ += waste::kControl;
  const auto found = streams_.find(head.stream);
  if (found == streams_.end()) {  // it has ended already; its bytes count for the connection all the same
    if (!payload.empty()) tell_client(make_window_update(0, head.length));
    waste_ += waste::kControl + head.length * waste::kDroppedByte;
    return true;
  }
  if (found->second.client_ended) return fail(Http2Error::kProtocol, "DATA behind the stream's end");
  found->second.client_ended = head.has(kEndStream);
  if (const auto refusal = take_message_bytes(found->second, payload)) {
    if (!payload.empty()) tell_client(make_window_update(0, head.length));
    refuse(found, *refusal);
    return true;
  }
  to_server_ += frame;
  return true;
}

std::optional<Refusal> Http2Filter::take_message_bytes(Stream& stream, std::string_view bytes) {
  while (!bytes.empty()) {
    if (stream.missing == 0) {
      const std::string_view part = bytes.substr(0, kMessageHeadBytes - stream.head.size());
      stream.head += part;
      bytes.remove_prefix(part.size());
      if (stream.head.size() < kMessageHeadBytes) break;
      const size_t length = read_uint32(std::string_view(stream.head).substr(1));
      if (stream.head[0] != 0) return Refusal{kUnimplemented, "compressed messages are not taken"};
      if (length > stream.max_message_bytes) {
        return Refusal{kResourceExhausted, fmt::format("the message has {} bytes, which is more than {}", length,
                                                       stream.max_message_bytes)};
      }
      stream.missing = length;
    }
    const size_t part = std::min(stream.missing, bytes.size());
    bytes.remove_prefix(part);
    stream.missing -= part;
    stream.held += part;
    message_bytes_ += static_cast<int64_t>(part);
    if (stream.missing == 0) {
      stream.whole += stream.held;
      message_bytes_ -= static_cast<int64_t>(std::exchange(stream.held, 0));
      stream.head.clear();
      stream.has_message = true;
    }
  }
  return std::nullopt;
}

bool Http2Filter::take_headers(const FrameHead& head, std::string_view payload) {
  if (head.stream % 2 == 0 || head.stream <= last_stream_) {
    return fail(Http2Error::kProtocol, "HEADERS of no new stream");
  }
  last_stream_ = head.stream;
  size_t padding = 0, front = 0;
  if (head.has(kPadded)) {
    if (payload.empty()) return fail(Http2Error::kProtocol, "no padding where some is announced");
    padding = static_cast<unsigned char>(payload[0]);
    front = 1;
  }
  if (head.has(kHasPriority)) front += 5;
  if (front + padding > payload.size()) return fail(Http2Error::kProtocol, "more padding than bytes");
  block_ = payload.substr(front, payload.size() - front - padding);
  block_stream_ = head.stream;
  block_flags_ = head.flags;
  block_frames_ = 1;
  return head.has(kEndHeaders) ? finish_block() : true;
}

bool Http2Filter::take_continuation(const FrameHead& head, std::string_view payload) {
  if (head.stream != block_stream_) return fail(Http2Error::kProtocol, "CONTINUATION of another stream");
  block_ += payload;
  if (block_.size() > kMaxBlockBytes || ++block_frames_ > kMaxBlockFrames) {
    return fail(Http2Error::kEnhanceYourCalm, "the headers are too large");
  }
  return head.has(kEndHeaders) ? finish_block() : true;
}

bool Http2Filter::finish_block() {
  HeaderReader::Block block;
  if (!reader_.read(block_, block)) return fail(Http2Error::kCompression, "the headers cannot be read");
  const uint32_t id = std::exchange(block_stream_, 0);
  return open_stream(id, block);
}

std::optional<Refusal> Http2Filter::judge(const HeaderReader::Block& block) const {
  if (block.too_large) {
    return Refusal{kResourceExhausted,
                   fmt::format("the request has more than {} bytes of headers", options_.max_header_bytes)};
  }
  const std::string_view encoding = field(block.fields, "grpc-encoding");
  if (!encoding.empty() && encoding != "identity") {
    return Refusal{kUnimplemented, "grpc-encoding: compressed messages are not taken, only \"identity\""};
  }
  if (!options_.judge) return std::nullopt;
  return options_.judge({.path = field(block.fields, ":path"), .authorization = field(block.fields, "authorization")});
}

bool Http2Filter::open_stream(uint32_t id, const HeaderReader::Block& block) {
  if (streams_.size() >= options_.max_streams) {
    waste_ += waste::kRequest;
    tell_client(make_rst_stream(id, Http2Error::kRefusedStream));
    return true;
  }
  if (const auto refusal = judge(block)) {
    waste_ += waste::kRequest;
    answer(id, *refusal);
    return true;
  }
  Stream& stream = streams_[id];
  stream.began = Clock::now();
  stream.max_message_bytes = options_.max_message_bytes(field(block.fields, ":path"));
  stream.client_ended = (block_flags_ & kEndStream) != 0;
  std::string fields;
  for (const auto& [name, value] : block.fields) append_field(fields, name, value);
  to_server_ += make_frame(FrameType::kHeaders, kEndHeaders | (block_flags_ & kEndStream), id, fields);
  return true;
}

bool Http2Filter::refuse_unfinished(Clock::time_point since, const Refusal& why) {
  bool any = false;
  for (auto stream = streams_.begin(); stream != streams_.end();) {
    const auto next = std::next(stream);
    if (!stream->second.complete() && stream->second.began < since) {
      refuse(stream, why);
      any = true;
    }
    stream = next;
  }
  return any;
}

void Http2Filter::refuse(Streams::iterator stream, const Refusal& why) {
  to_server_ += make_rst_stream(stream->first, Http2Error::kCancel);
  if (stream->second.server_spoke) {
    tell_client(make_rst_stream(stream->first, Http2Error::kEnhanceYourCalm));
  } else {
    answer(stream->first, why);
  }
  forget(stream);
}

void Http2Filter::answer(uint32_t id, const Refusal& why) {
  tell_client(make_answer(id, why.grpc_status, why.message, why.details) + make_rst_stream(id, Http2Error::kNone));
}

void Http2Filter::forget(Streams::iterator stream) {
  if (!stream->second.answered) {
    waste_ += waste::kRequest + static_cast<double>(stream->second.whole) * waste::kByte +
              static_cast<double>(stream->second.held) * waste::kDroppedByte;
  }
  message_bytes_ -= static_cast<int64_t>(stream->second.held);
  streams_.erase(stream);
}

void Http2Filter::take_from_server(std::string_view bytes) {
  while (!bytes.empty()) {
    std::string_view part;
    if (server_left_ > 0) {
      part = bytes.substr(0, server_left_);
      server_left_ -= part.size();
    } else {
      part = bytes.substr(0, kFrameHeadBytes - server_head_.size());
      server_head_ += part;
      if (server_head_.size() == kFrameHeadBytes) {
        const FrameHead head = parse_frame_head(server_head_);
        note_server_frame(head);
        server_left_ = head.length;
      }
    }
    to_client_ += part;
    bytes.remove_prefix(part.size());
    if (server_left_ > 0 || server_head_.size() < kFrameHeadBytes) continue;
    server_head_.clear();
    server_began_ = true;
    if (!server_in_block_) to_client_ += std::exchange(waiting_, {});
  }
}

void Http2Filter::note_server_frame(const FrameHead& head) {
  const bool is_headers = head.type == FrameType::kHeaders;
  if (is_headers || head.type == FrameType::kContinuation) server_in_block_ = !head.has(kEndHeaders);
  const auto stream = streams_.find(head.stream);
  if (stream == streams_.end()) return;
  if (is_headers) stream->second.server_spoke = true;
  if (head.type == FrameType::kData && head.length > 0) stream->second.answered = answered_ = true;
  const bool ends = (is_headers || head.type == FrameType::kData) && head.has(kEndStream);
  if (ends || head.type == FrameType::kRstStream) forget(stream);
}

void Http2Filter::tell_client(const std::string& frame) {
  const bool between_frames = server_began_ && server_left_ == 0 && server_head_.empty() && !server_in_block_;
  (between_frames ? to_client_ : waiting_) += frame;
}

bool Http2Filter::fail(Http2Error error, std::string_view why) {
  waste_ += waste::kFault;
  tell_client(make_goaway(last_stream_, error, why));
  return false;
}

}  // namespace octet
