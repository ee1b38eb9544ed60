#include "runtime/gate/probe.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "runtime/base/unique_fd.h"
#include "runtime/gate/http2_frames.h"
#include "runtime/gate/socket_address.h"

namespace octet {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kLook{200};  // between two looks whether to stop

// Whether one of the events has come.
bool await(int descriptor, int16_t events, Clock::time_point end, const std::stop_token& stop) {
  while (!stop.stop_requested() && Clock::now() < end) {
    pollfd wanted{descriptor, events, 0};
    if (::poll(&wanted, 1, static_cast<int>(kLook.count())) > 0) return true;
  }
  return false;
}

}  // namespace

Status probe_http2(const Address& address, milliseconds patience, const std::stop_token& stop) {
  OCTET_ASSIGN_OR_RETURN(std::vector<SocketAddress> found, resolve(address));
  SocketAddress& to = found.front();
  to.make_reachable();
  const auto end = Clock::now() + patience;
  const UniqueFd socket(::socket(to.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  // Without a descriptor nothing is known of the service: its own are reserved.
  if (!socket.valid()) return errno == EMFILE || errno == ENFILE ? ok_status() : failed("{}", std::strerror(errno));
  if (::connect(socket.get(), to.get(), to.size) != 0 && errno != EINPROGRESS && errno != EAGAIN) {
    return failed("{}: {}", address.text(), std::strerror(errno));
  }
  if (!await(socket.get(), POLLOUT, end, stop)) return failed("{}: nobody takes the connection", address.text());
  const std::string greeting = std::string(kPreface) + make_frame(FrameType::kSettings, 0, 0, "");
  if (::send(socket.get(), greeting.data(), greeting.size(), MSG_NOSIGNAL) < 0) {
    // Closed already: somebody did that.
    return errno == EPIPE || errno == ECONNRESET ? ok_status() : failed("{}: {}", address.text(), std::strerror(errno));
  }
  if (await(socket.get(), POLLIN, end, stop)) return ok_status();
  return failed("{}: no answer within {} s", address.text(), std::chrono::duration<double>(patience).count());
}

}  // namespace octet
