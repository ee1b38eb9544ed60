// MessageLink: one TCP connection between two watchdogs. Nothing here ever waits for the other end.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "comm/beat.h"
#include "comm/network.h"

namespace octet {

// Frames: payload size (4 bytes), MessageType (1 byte), payload.
class MessageLink {
 public:
  static constexpr size_t kMaxPayload = size_t{1} << 20;

  // A connected socket.
  explicit MessageLink(UniqueFd socket);

  // A longer payload than this is nonsense from now on, and no more than one such is kept: 1 MiB, unless it is said.
  void limit_payload(size_t bytes) { max_payload_ = bytes; }

  int fd() const { return socket_.get(); }

  // Sends, as far as the connection takes it; the rest goes with the next call. A heartbeat is dropped where earlier
  // messages wait: the other end is not listening, and only the newest matters.
  void send(MessageType type, std::span<const std::byte> payload);

  // The next message that has arrived in full.
  std::optional<Message> next();
  // The other end has closed the connection, or it broke, or spoke nonsense; all messages before that were taken.
  bool closed() const { return closed_; }

  // No message follows: lets what was sent arrive, rather than be lost when the process ends.
  void finish_sending();

 private:
  void flush();
  void read_available();

  UniqueFd socket_;
  size_t max_payload_ = kMaxPayload;
  std::vector<std::byte> unsent_;
  std::vector<std::byte> unread_;
  bool closed_ = false;
};

}  // namespace octet
