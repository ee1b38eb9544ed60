// Http2Filter: what of a client's HTTP/2 connection reaches the gRPC library, and what the client is told instead.
//
// gRPC 1.51 buffers a message of any announced length before it looks at its limit, keeps what a client resets until
// it has been handled, and believes what a header block says of its own size. So the library is given only what was
// looked at here: whole frames, header blocks within a bound and without compression, messages within theirs. Of the
// library's answers frames are recognised, and none is changed.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/gate/header_reader.h"
#include "runtime/gate/http2_frames.h"

namespace octet {

// The status of gRPC that ends a request in place of its answer.
// Codes of gRPC.
inline constexpr int kDeadlineExceeded = 4;
inline constexpr int kResourceExhausted = 8;

struct Refusal {
  int grpc_status = 0;
  std::string message = {};
  std::string details = {};  // of grpc-status-details-bin; empty: none
};

struct RequestHead {
  std::string_view path;           // "/octet.v1.Generation/Generate"
  std::string_view authorization;  // empty: none
};

struct FilterOptions {
  // Of a message to this path.
  std::function<size_t(std::string_view path)> max_message_bytes = [](std::string_view) { return size_t{4} << 20; };
  size_t max_header_bytes = 12 << 10;  // of a request, as RFC 9113, 6.5.2 counts them; a frame has room for them
  size_t max_streams = 1024;           // of a connection
  // Whether the body of a request is waited for. Unset: always.
  std::function<std::optional<Refusal>(const RequestHead&)> judge = {};
};

// Thread safety: one thread at a time.
class Http2Filter {
 public:
  using Clock = std::chrono::steady_clock;

  // The options outlive it.
  explicit Http2Filter(const FilterOptions& options);

  // What has come. False: this is no connection to go on with; what is in to_client() says so to the client. Where
  // there is much waste in it, some waits for the next call, which may bring nothing more.
  bool take_from_client(std::string_view bytes);
  bool has_more() const { return has_more_; }
  void take_from_server(std::string_view bytes);
  // What is to be sent on. The caller empties it.
  std::string& to_server() { return to_server_; }
  std::string& to_client() { return to_client_; }
  size_t client_backlog() const { return to_client_.size() + waiting_.size(); }

  // Whether the client has shown that it speaks HTTP/2.
  bool greeted() const { return greeted_; }
  bool has_streams() const { return !streams_.empty(); }
  // About what the connection holds of the process's memory: open streams, and the bytes of messages that are not
  // complete.
  int64_t held_bytes() const;
  // Refuses the requests that are not complete and began before `since`; whether there were any.
  bool refuse_unfinished(Clock::time_point since, const Refusal& why);
  // Of what the client has asked for since the last time, what was of no use to it, in units of waste.
  double take_waste();
  // Whether a request has had a message in answer.
  bool answered() const { return answered_; }

 private:
  struct Stream {
    Clock::time_point began;
    size_t max_message_bytes = 0;
    std::string head;           // of a message: up to five bytes
    size_t missing = 0;         // bytes of the message that began
    size_t held = 0;            // bytes of it that came
    size_t whole = 0;           // bytes of the messages that came whole
    bool has_message = false;   // one has come whole
    bool client_ended = false;  // the client sends no more
    bool server_spoke = false;  // the answer has begun
    bool answered = false;      // with a message

    bool complete() const { return client_ended || (has_message && head.empty() && missing == 0); }
  };
  using Streams = std::map<uint32_t, Stream>;

  bool take_frame(const FrameHead& head, std::string_view frame);
  bool take_data(const FrameHead& head, std::string_view frame);
  bool take_headers(const FrameHead& head, std::string_view payload);
  bool take_continuation(const FrameHead& head, std::string_view payload);
  bool finish_block();
  bool open_stream(uint32_t id, const HeaderReader::Block& block);
  std::optional<Refusal> judge(const HeaderReader::Block& block) const;
  std::optional<Refusal> take_message_bytes(Stream& stream, std::string_view bytes);
  void note_server_frame(const FrameHead& head);
  void refuse(Streams::iterator stream, const Refusal& why);
  void answer(uint32_t id, const Refusal& why);
  // The stream is over; unless it was answered, it is waste.
  void forget(Streams::iterator stream);
  // Tells the client once no frame of the library is under way.
  void tell_client(const std::string& frame);
  bool fail(Http2Error error, std::string_view why);

  const FilterOptions& options_;
  std::string to_server_, to_client_;

  std::string inbox_;  // of the client, less than a frame
  bool prefaced_ = false, greeted_ = false;
  HeaderReader reader_;
  uint32_t block_stream_ = 0;  // whose header block is incomplete; 0: none
  uint8_t block_flags_ = 0;
  int block_frames_ = 0;
  std::string block_;
  uint32_t last_stream_ = 0;
  Streams streams_;
  int64_t message_bytes_ = 0;  // of the messages that are not complete
  double waste_ = 0;
  bool has_more_ = false, answered_ = false;

  std::string server_head_;  // of the library's frame under way
  size_t server_left_ = 0;   // bytes of its payload that are to come
  bool server_in_block_ = false, server_began_ = false;
  std::string waiting_;  // for the end of the library's frame
};

}  // namespace octet
