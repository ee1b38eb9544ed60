#include "comm/message_link.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "runtime/base/pack.h"

namespace octet {
namespace {

constexpr size_t kHeaderBytes = 5;

}  // namespace

MessageLink::MessageLink(UniqueFd socket) : socket_(std::move(socket)) {
  fcntl(fd(), F_SETFL, fcntl(fd(), F_GETFL) | O_NONBLOCK);
  const int on = 1;
  setsockopt(fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

void MessageLink::send(MessageType type, std::span<const std::byte> payload) {
  flush();
  if (type == MessageType::kBeat && !unsent_.empty()) return;
  Packer frame;
  frame.uint32(static_cast<uint32_t>(payload.size())).raw(std::as_bytes(std::span(&type, 1))).raw(payload);
  unsent_.insert(unsent_.end(), frame.bytes().begin(), frame.bytes().end());
  flush();
}

// An error here is no news: what the other end sent before may still wait to be read, and reading finds the same error.
void MessageLink::flush() {
  while (!unsent_.empty()) {
    const ssize_t sent = ::send(fd(), unsent_.data(), unsent_.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return;
    unsent_.erase(unsent_.begin(), unsent_.begin() + sent);
  }
}

void MessageLink::read_available() {
  std::array<std::byte, 4096> block;
  while (!closed_ && unread_.size() <= kHeaderBytes + max_payload_) {
    const ssize_t received = recv(fd(), block.data(), block.size(), 0);
    if (received > 0) {
      unread_.insert(unread_.end(), block.begin(), block.begin() + received);
    } else if (received < 0 && errno == EINTR) {
      continue;
    } else if (received < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      return;
    } else {
      closed_ = true;
    }
  }
}

std::optional<Message> MessageLink::next() {
  read_available();
  if (unread_.size() < kHeaderBytes) return std::nullopt;
  const uint32_t size = Unpacker(unread_).uint32();
  const auto type = static_cast<MessageType>(unread_[sizeof(size)]);
  if (size > max_payload_ || type > MessageType::kFailure) {
    closed_ = true;
    unread_.clear();
    return std::nullopt;
  }
  if (unread_.size() < kHeaderBytes + size) return std::nullopt;
  const auto begin = unread_.begin() + kHeaderBytes;
  Message message{type, {begin, begin + size}};
  unread_.erase(unread_.begin(), begin + size);
  return message;
}

void MessageLink::finish_sending() {
  flush();
  shutdown(fd(), SHUT_WR);
}

}  // namespace octet
