// A client that speaks HTTP/2 by hand, so that it can be spoken wrongly.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "runtime/base/check.h"
#include "runtime/gate/http2_frames.h"
#include "runtime/gate/socket_address.h"

namespace octet::testing {

class RawClient {
 public:
  // Connects, from an address of this host's own network if one is named; says nothing yet.
  explicit RawClient(const std::string& address, const char* source = nullptr) {
    auto found = resolve(*parse_server_address(address));
    OCTET_CHECK(found.ok());
    socket_ = ::socket(found->front().family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
    OCTET_CHECK(socket_ >= 0);
    if (source != nullptr) {
      sockaddr_in from{};
      from.sin_family = AF_INET;
      OCTET_CHECK(::inet_pton(AF_INET, source, &from.sin_addr) == 1);
      OCTET_CHECK(::bind(socket_, reinterpret_cast<sockaddr*>(&from), sizeof(from)) == 0);
    }
    connected_ = ::connect(socket_, found->front().get(), found->front().size) == 0;
  }
  ~RawClient() {
    if (socket_ >= 0) ::close(socket_);
  }
  RawClient(RawClient&& other) noexcept
      : socket_(std::exchange(other.socket_, -1)), connected_(other.connected_), next_(other.next_) {}
  RawClient& operator=(RawClient&&) = delete;

  bool connected() const { return connected_; }

  // Whether the service took it, within half a minute.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      pollfd wanted{socket_, POLLOUT, 0};
      if (::poll(&wanted, 1, 30'000) <= 0) return false;
      const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0 && errno != EAGAIN) return false;
      if (sent > 0) bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }
  bool greet() { return send(std::string(kPreface) + make_frame(FrameType::kSettings, 0, 0, "")); }

  // The id of a new stream. An empty key or encoding is not sent, an empty timeout is.
  uint32_t open(const std::string& path, const std::string& key = "", std::string_view encoding = "",
                std::optional<std::string_view> timeout = {}) {
    std::string block;
    append_field(block, ":method", "POST");
    append_field(block, ":scheme", "http");
    append_field(block, ":path", path);
    append_field(block, ":authority", "octet");
    append_field(block, "te", "trailers");
    append_field(block, "content-type", "application/grpc");
    if (!key.empty()) append_field(block, "authorization", "Bearer " + key);
    if (!encoding.empty()) append_field(block, "grpc-encoding", encoding);
    if (timeout) append_field(block, "grpc-timeout", *timeout);
    const uint32_t stream = std::exchange(next_, next_ + 2);
    send(make_frame(FrameType::kHeaders, kEndHeaders, stream, block));
    return stream;
  }
  // A whole message, the only one of its stream.
  bool send_only_message(uint32_t stream, std::string_view message) {
    std::string bytes(1, 0);
    for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(message.size() >> shift);
    return send(make_frame(FrameType::kData, kEndStream, stream, bytes.append(message)));
  }
  // The beginning of a message of this size, in frames.
  bool send_message(uint32_t stream, uint32_t size, size_t num_bytes, char flag = 0) {
    std::string bytes(1, flag);
    for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(size >> shift);
    bytes.append(num_bytes, 'a');
    std::string frames;
    for (size_t at = 0; at < bytes.size(); at += kMaxFrameBytes) {
      frames += make_frame(FrameType::kData, 0, stream, std::string_view(bytes).substr(at, kMaxFrameBytes));
    }
    return send(frames);
  }

  // What comes until the text does, the connection ends, or the time is over.
  std::string read_until(const std::string& text, std::chrono::milliseconds time = std::chrono::seconds(30)) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (text.empty() || received_.find(text) == std::string::npos) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
      pollfd wanted{socket_, POLLIN, 0};
      if (left.count() <= 0 || ::poll(&wanted, 1, static_cast<int>(left.count())) <= 0) break;
      char bytes[4096];
      const ssize_t size = ::recv(socket_, bytes, sizeof(bytes), 0);
      if (size <= 0) {
        ended_ = true;
        break;
      }
      received_.append(bytes, static_cast<size_t>(size));
    }
    return received_;
  }
  // Whether the service ended the connection within the time.
  bool is_ended_within(std::chrono::milliseconds time) {
    read_until("", time);
    return ended_;
  }

 private:
  int socket_ = -1;
  bool connected_ = false, ended_ = false;
  uint32_t next_ = 1;
  std::string received_;
};

}  // namespace octet::testing
