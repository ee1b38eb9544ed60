#include "runtime/gate/gate_connection.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <utility>

#include "runtime/base/random_bytes.h"

namespace octet {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kGreetingLimit{10};      // for a client to speak HTTP/2, over TLS where there is some
constexpr seconds kRequestLimit{60};       // for a request to be complete
constexpr seconds kStallLimit{60};         // of a client that takes nothing of what waits for it
constexpr milliseconds kPauseAtTheEnd{5};  // between two looks at what a client still sends
constexpr milliseconds kLastWords{500};    // for a client to take what it is told in the end
constexpr size_t kMaxBacklog = 64 << 10;   // of bytes that wait for the client before nothing is read any more

// gRPC tells its handlers where a client is by the name of the socket's other end, and whose calls it may end by that:
// no other connection may have the name, and no process of this machine can take it first.
bool name_socket(int descriptor, const std::string& client) {
  const std::string name = fmt::format("octet-{}/{}", random_hex(16), client);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const size_t size = std::min(name.size(), sizeof(address.sun_path) - 1);
  std::memcpy(address.sun_path + 1, name.data(), size);
  return ::bind(descriptor, reinterpret_cast<const sockaddr*>(&address),
                static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + size)) == 0;
}

}  // namespace

GateConnection::GateConnection(GateShared& shared, ClientSocket socket, TlsContext tls, std::string name,
                               std::shared_ptr<AddressAccount> account)
    : shared_(shared),
      tls_context_(std::move(tls)),
      socket_(std::move(socket)),
      backend_(shared.io),
      pause_(shared.io),
      name_(std::move(name)),
      account_(std::move(account)),
      filter_(shared.filter),
      accepted_(Clock::now()),
      last_active_(accepted_) {
  if (tls_context_ != nullptr) tls_.emplace(socket_, *tls_context_);
  ++account_->num_connections;
  ++shared_.num_connections;
}

GateConnection::~GateConnection() { close(); }

template <typename Function>
auto GateConnection::handler(Function function) {
  return [self = shared_from_this(), function](const boost::system::error_code& error, auto... arguments) {
    if (self->closed_) return;
    if (error) return self->close();
    function(arguments...);
  };
}

void GateConnection::start() {
  when_paid([this] {
    if (!tls_) return read_client();
    tls_->async_handshake(boost::asio::ssl::stream_base::server, handler([this] { read_client(); }));
  });
}

template <typename Next>
void GateConnection::pause(Clock::duration time, Next next) {
  if (std::exchange(pausing_, true)) return;
  pause_.expires_after(time);
  pause_.async_wait(handler([this, next] {
    pausing_ = false;
    next();
  }));
}

template <typename Next>
void GateConnection::when_paid(Next next) {
  const auto owed = account_->owes();
  if (owed <= Clock::duration::zero()) return next();
  pause(owed, [this, next] { when_paid(next); });
}

void GateConnection::read_client() {
  if (std::exchange(reading_client_, true)) return;
  const auto buffer = boost::asio::buffer(from_client_);
  const auto on_read = handler([this](size_t size) { on_client_bytes(size); });
  if (tls_) {
    tls_->async_read_some(buffer, on_read);
  } else {
    socket_.async_read_some(buffer, on_read);
  }
}

void GateConnection::on_client_bytes(size_t size) {
  reading_client_ = false;
  if (ending_) return read_client_at_the_end();
  take_client_bytes({from_client_.data(), size});
}

void GateConnection::take_client_bytes(std::string_view bytes) {
  const bool goes_on = filter_.take_from_client(bytes);
  tell_account();
  write_client();
  if (!goes_on) return end();
  if (filter_.greeted() && !backend_.is_open() && !open_backend()) return close();
  reads_after_write_ = backend_.is_open() && !filter_.to_server().empty();
  if (!reads_after_write_) return read_client_once_it_may();
  write_backend();
}

void GateConnection::tell_account() {
  const int64_t held = filter_.held_bytes();
  account_->charge(filter_.take_waste());
  if (held > 0 || held_bytes_ > 0) last_active_ = Clock::now();
  account_->held_bytes += held - held_bytes_;
  shared_.held_bytes += held - std::exchange(held_bytes_, held);
  if (shared_.held_bytes > shared_.max_held_bytes) shared_.relieve();
}

bool GateConnection::open_backend() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0) return false;
  if (!name_socket(ends[0], name_)) {
    std::ranges::for_each(ends, ::close);
    return false;
  }
  backend_.assign(boost::asio::local::stream_protocol(), ends[0]);
  shared_.handover(ends[1]);
  read_backend();
  return true;
}

void GateConnection::write_backend() {
  if (!sending_to_backend_.empty() || filter_.to_server().empty() || !backend_.is_open()) return;
  sending_to_backend_ = std::exchange(filter_.to_server(), {});
  boost::asio::async_write(backend_, boost::asio::buffer(sending_to_backend_),
                           [this, self = shared_from_this()](const boost::system::error_code& error, size_t) {
                             if (closed_ || error) return;  // what the library has said before its end is read yet
                             sending_to_backend_ = {};
                             write_backend();
                             const bool idle = sending_to_backend_.empty();
                             if (idle && std::exchange(reads_after_write_, false)) read_client_once_it_may();
                           });
}

// Whoever wastes more than it should is listened to less often.
void GateConnection::read_client_once_it_may() {
  if (filter_.client_backlog() > kMaxBacklog) {
    client_waits_ = true;
    return;
  }
  when_paid([this] { filter_.has_more() && !ending_ ? take_client_bytes({}) : read_client(); });
}

// Unread bytes would make the system forget what the client has not taken; whoever goes on all the same has time.
void GateConnection::read_client_at_the_end() {
  pause(kPauseAtTheEnd, [this] { read_client(); });
}

void GateConnection::read_backend() {
  backend_.async_read_some(boost::asio::buffer(from_backend_),
                           [this, self = shared_from_this()](const boost::system::error_code& error, size_t size) {
                             if (closed_) return;
                             if (error) return end();
                             filter_.take_from_server({from_backend_.data(), size});
                             tell_account();
                             backend_waits_ = filter_.client_backlog() > kMaxBacklog;
                             write_client();
                             if (!backend_waits_) read_backend();
                           });
}

void GateConnection::write_client() {
  if (writing_client_) return;
  if (sent_to_client_ == sending_to_client_.size()) {
    sending_to_client_ = std::exchange(filter_.to_client(), {});
    sent_to_client_ = 0;
  }
  if (sending_to_client_.empty()) return;
  writing_client_ = true;
  client_took_at_ = Clock::now();
  const auto buffer = boost::asio::buffer(sending_to_client_) + sent_to_client_;
  const auto on_written = handler([this](size_t size) { on_client_written(size); });
  if (tls_) {
    tls_->async_write_some(buffer, on_written);
  } else {
    socket_.async_write_some(buffer, on_written);
  }
}

void GateConnection::on_client_written(size_t size) {
  writing_client_ = false;
  sent_to_client_ += size;
  write_client();
  if (ending_) return say_no_more();
  if (filter_.client_backlog() > kMaxBacklog) return;
  if (std::exchange(backend_waits_, false) && backend_.is_open()) read_backend();
  if (std::exchange(client_waits_, false)) read_client_once_it_may();
}

void GateConnection::end() {
  if (ending_ || closed_) return;
  ending_ = true;
  boost::system::error_code ignored;
  backend_.close(ignored);
  end_by_ = Clock::now() + kLastWords;
  write_client();
  say_no_more();
}

// Once the client has been told everything: it closes, or is closed soon after.
void GateConnection::say_no_more() {
  if (writing_client_) return;
  boost::system::error_code ignored;
  socket_.shutdown(ClientSocket::shutdown_send, ignored);
  read_client();
}

void GateConnection::close() {
  if (std::exchange(closed_, true)) return;
  account_->charge(filter_.take_waste() + (filter_.answered() ? 0 : waste::kEmptyConnection));
  --account_->num_connections;
  --shared_.num_connections;
  account_->held_bytes -= held_bytes_;
  shared_.held_bytes -= std::exchange(held_bytes_, 0);
  boost::system::error_code ignored;
  backend_.close(ignored);
  socket_.close(ignored);
  pause_.cancel();
}

void GateConnection::tick(Clock::time_point now) {
  if (closed_) return;
  if (end_by_ && now >= *end_by_) return close();
  if (ending_) return;
  if (!filter_.greeted() && now - accepted_ >= kGreetingLimit) return close();
  if (writing_client_ && now - client_took_at_ >= kStallLimit) return close();
  const Refusal late{kDeadlineExceeded, fmt::format("the request was not complete after {} s", kRequestLimit.count())};
  refuse_unfinished(now - kRequestLimit, late);
}

bool GateConnection::shed() {
  const Refusal why{kResourceExhausted, "the service has no room for so many requests that are not complete"};
  return refuse_unfinished(Clock::time_point::max(), why);
}

bool GateConnection::refuse_unfinished(Clock::time_point since, const Refusal& why) {
  if (ending_ || !filter_.refuse_unfinished(since, why)) return false;
  tell_account();
  write_client();
  write_backend();
  return true;
}

std::optional<GateConnection::Clock::time_point> GateConnection::idle_since() const {
  if (filter_.has_streams()) return std::nullopt;
  return last_active_;
}

}  // namespace octet
