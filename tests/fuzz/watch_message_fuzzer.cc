// Any bytes as what a stranger sends to a watchdog's port, and as what a watchdog tells.
#include <sys/socket.h>

#include "comm/beat.h"
#include "comm/handshake.h"
#include "comm/message_link.h"
#include "runtime/base/check.h"

namespace {

void take(const octet::Message& message) {
  const auto hello = octet::unpack_hello(message.payload);
  if (hello.ok()) OCTET_CHECK(hello->rank >= 0 && octet::pack_hello(*hello) == message.payload);
  const auto bytes = octet::unpack_bytes32(message.payload);
  if (bytes.ok()) OCTET_CHECK(octet::pack_bytes32(*bytes) == message.payload);
  const auto report = octet::unpack_report(message.payload);
  if (report.ok()) OCTET_CHECK(!octet::describe(*report).empty());
  const auto failure = octet::unpack_failure(message.payload);
  if (failure.ok()) OCTET_CHECK(octet::pack_failure(*failure).size() == message.payload.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  int ends[2] = {-1, -1};
  OCTET_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  octet::UniqueFd sender(ends[0]);
  octet::MessageLink link{octet::UniqueFd(ends[1])};
  link.limit_payload(octet::kMaxHandshakePayload);
  [[maybe_unused]] const ssize_t sent = send(sender.get(), data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
  sender.reset();
  while (const auto message = link.next()) {
    OCTET_CHECK(message->payload.size() <= octet::kMaxHandshakePayload);
    take(*message);
  }
  OCTET_CHECK(link.closed());
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  take({octet::MessageType::kBeat, {bytes, bytes + size}});
  return 0;
}
