// GateConnection: one client, its filter, and its connection to the gRPC library.
#pragma once

#include <array>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/gate/address_account.h"
#include "runtime/gate/gate_shared.h"
#include "runtime/gate/http2_filter.h"
#include "runtime/gate/tls.h"

namespace octet {

using ClientSocket = boost::asio::generic::stream_protocol::socket;

// Keeps itself alive until it is closed. The gate's thread only.
class GateConnection final : public std::enable_shared_from_this<GateConnection> {
 public:
  using Clock = std::chrono::steady_clock;

  // `tls`: null: none. `name`: the client's address with its port. `shared` outlives it.
  GateConnection(GateShared& shared, ClientSocket socket, TlsContext tls, std::string name,
                 std::shared_ptr<AddressAccount> account);
  ~GateConnection();

  void start();
  // At once; the library hears that the client is gone.
  void close();
  bool closed() const { return closed_; }
  // Takes no more from the client; closes when it has what waits for it, or soon after.
  void end();

  // Looks at what lasts too long. A client has so long to speak HTTP/2, over TLS where there is some.
  void tick(Clock::time_point now);
  // Refuses the requests that are not complete; whether there were any.
  bool shed();

  int64_t held_bytes() const { return filter_.held_bytes(); }
  bool greeted() const { return filter_.greeted(); }
  // Since when nothing is under way, whatever the client says; none while something is.
  std::optional<Clock::time_point> idle_since() const;
  const AddressAccount& account() const { return *account_; }

 private:
  // A handler that does nothing once the connection is closed, and closes it on an error.
  template <typename Function>
  auto handler(Function function);
  // `next`, after a time. One pause at a time: a second one is not made.
  template <typename Next>
  void pause(Clock::duration time, Next next);
  // `next`, once the address owes nothing.
  template <typename Next>
  void when_paid(Next next);
  void read_client();
  void on_client_bytes(size_t size);
  void take_client_bytes(std::string_view bytes);
  bool open_backend();
  void write_backend();
  void read_client_once_it_may();
  void read_client_at_the_end();
  void read_backend();
  void write_client();
  void on_client_written(size_t size);
  void say_no_more();
  bool refuse_unfinished(Clock::time_point since, const Refusal& why);
  // Tells the gate what it holds now, and the account what it has wasted.
  void tell_account();

  GateShared& shared_;
  TlsContext tls_context_;
  ClientSocket socket_;
  std::optional<boost::asio::ssl::stream<ClientSocket&>> tls_;
  boost::asio::local::stream_protocol::socket backend_;
  boost::asio::steady_timer pause_;
  const std::string name_;
  const std::shared_ptr<AddressAccount> account_;
  Http2Filter filter_;

  std::array<char, 8 << 10> from_client_;
  std::array<char, 16 << 10> from_backend_;
  std::string sending_to_backend_, sending_to_client_;
  size_t sent_to_client_ = 0;
  bool reading_client_ = false, writing_client_ = false;
  bool reads_after_write_ = false;    // from the client, once the library has what came
  Clock::time_point client_took_at_;  // bytes that wait for it
  bool backend_waits_ = false;        // for the client to take what it was sent
  bool client_waits_ = false;         // to be read, for the same
  bool pausing_ = false;
  bool ending_ = false, closed_ = false;
  const Clock::time_point accepted_;
  Clock::time_point last_active_;  // when something was under way; else when it was accepted
  std::optional<Clock::time_point> end_by_;
  int64_t held_bytes_ = 0;  // as the gate knows it
};

}  // namespace octet
