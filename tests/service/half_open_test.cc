// Connections to a service with TLS that never come to anything.
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <thread>

#include "tests/service/certificates.h"
#include "tests/service/raw_client.h"
#include "tests/service/test_server.h"

namespace octet::testing {
namespace {

using std::chrono::seconds;

class HalfOpenTls : public ::testing::Test {
 protected:
  TestServerOptions options() const {
    TestServerOptions options;
    options.server.tls_cert = files_.path("server.pem");
    options.server.tls_key = files_.path("server.key");
    options.server.limits.max_connections = 60;
    return options;
  }
  void expect_honest() const {
    const auto stub = v1::Generation::NewStub(server_.connect(grpc::SslCredentials({files_.text("ca.pem"), "", ""})));
    const Reply reply = stream(*stub, text_request("a", 2));
    EXPECT_TRUE(reply.status.ok()) << reply.status.error_message();
  }
  std::vector<RawClient> connect(int count, std::string_view first_words) const {
    std::vector<RawClient> clients;
    for (int i = 0; i < count; ++i) {
      clients.emplace_back(server_.server().address());
      clients.back().send(first_words);
    }
    return clients;
  }

  const Certificates files_;
  const TestServer server_{options()};
  // The head of a record with a ClientHello of 508 bytes, and some of them.
  const std::string hello_ = std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11) + std::string(100, 'r');
  // One of the greatest size.
  const std::string huge_ = std::string("\x16\x03\x01\x3f\xff\x01\x00\x3f\xfb\x03\x03", 11) + std::string(2000, 'r');
};

// More than the service takes, of the honest client's own address.
TEST_F(HalfOpenTls, HonestClientsAreServedBesideThem) {
  const auto silent = connect(50, "");
  expect_honest();
  const auto half = connect(50, hello_);
  expect_honest();
  auto garbage = connect(50, "GET / HTTP/1.1\r\n\r\n");
  const auto huge = connect(50, huge_);
  expect_honest();
  EXPECT_TRUE(garbage.front().is_ended_within(seconds(30)));
  expect_honest();
}

// After ten seconds, also those that say a little all the time, or that come as far as TLS.
TEST_F(HalfOpenTls, LongAreClosed) {
  const auto begin = Clock::now();
  std::vector<RawClient> clients = connect(3, "");
  for (RawClient& client : connect(3, hello_)) clients.push_back(std::move(client));
  for (RawClient& client : connect(3, huge_)) clients.push_back(std::move(client));
  RawClient& dripping = clients.emplace_back(server_.server().address());
  dripping.send(hello_);
  boost::asio::io_context io;
  boost::asio::ssl::context context(boost::asio::ssl::context::tls_client);
  boost::asio::ssl::stream<boost::asio::ip::tcp::socket> tls(io, context);
  const auto address = parse_server_address(server_.server().address());
  tls.next_layer().connect({boost::asio::ip::make_address(address->host), static_cast<uint16_t>(address->port)});
  SSL_set_alpn_protos(tls.native_handle(), reinterpret_cast<const unsigned char*>("\x02h2"), 3);
  tls.handshake(boost::asio::ssl::stream_base::client);
  while (dripping.send("r") && seconds_since(begin) < 60) {
    expect_honest();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  for (RawClient& client : clients) ASSERT_TRUE(client.is_ended_within(seconds(20)));
  boost::system::error_code error;
  char byte = 0;
  tls.read_some(boost::asio::buffer(&byte, 1), error);
  EXPECT_TRUE(error);
  EXPECT_GT(seconds_since(begin), 9);
  EXPECT_LT(seconds_since(begin), 10 + 20);
  expect_honest();
}

}  // namespace
}  // namespace octet::testing
