// Clients of the metrics' port that mean harm.
#include <algorithm>
#include <thread>
#include <vector>

#include "tests/service/process_figures.h"
#include "tests/service/raw_client.h"
#include "tests/service/secret.h"
#include "tests/service/test_server.h"

namespace octet::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr int64_t kMiB = 1 << 20;
constexpr const char* kName = "octet_num_requests_running";

class MetricsAbuse : public ::testing::Test {
 protected:
  TestServerOptions options() const {
    TestServerOptions options{.server = {.metrics_listen = "any"}, .ready = false};
    write_secret(folder_ / "key", "the key\n");
    options.server.metrics_key_file = (folder_ / "key").string();
    return options;
  }
  RawClient connect(std::string_view first_words = "") const {
    RawClient client(server_.server().metrics_address());
    EXPECT_TRUE(client.connected());
    client.send(first_words);
    return client;
  }
  static std::string request(const std::string& method, const std::string& more, const std::string& key = "the key") {
    return method + " /metrics HTTP/1.1\r\nHost: a\r\n" + (key.empty() ? "" : "Authorization: Bearer " + key + "\r\n") +
           more + "\r\n";
  }
  // The whole answer: the service closes behind it.
  std::string answer(const std::string& words) const { return connect(words).read_until(""); }
  // An honest client's, which is there in time.
  void expect_honest() const {
    const auto begin = Clock::now();
    const std::string got = answer(request("GET", ""));
    EXPECT_THAT(got, StartsWith("HTTP/1.1 200"));
    EXPECT_THAT(got, HasSubstr(kName));
    EXPECT_LT(seconds_since(begin), 10);
  }

  const TempFolder folder_;
  const TestServer server_{options()};
};

TEST_F(MetricsAbuse, TheKeyIsAskedFor) {
  for (const char* wrong : {"", "x", "the ke", "the key!", "The key"}) {
    const std::string got = answer(request("GET", "", wrong));
    EXPECT_THAT(got, StartsWith("HTTP/1.1 401")) << wrong;
    EXPECT_THAT(got, Not(HasSubstr(kName))) << wrong;
  }
  expect_honest();
  EXPECT_THAT(answer("GET /metrics HTTP/1.1\r\nAuthorization: Basic dGhlIGtleQ==\r\n\r\n"), StartsWith("HTTP/1.1 401"));
}

// Nobody waits for a body, and none is kept.
TEST_F(MetricsAbuse, BodiesAreNotTaken) {
  const int64_t before = figures_of(::getpid()).resident_bytes;
  const std::string piece = "100000\r\n" + std::string(kMiB, 'a') + "\r\n";
  for (const std::string& head :
       {request("POST", "Content-Length: 1000000000000\r\n"), request("GET", "Content-Length: 1000000000000\r\n"),
        request("POST", "Transfer-Encoding: chunked\r\n"), request("GET", "Transfer-Encoding: chunked\r\n")}) {
    RawClient client = connect(head);
    int64_t sent = 0;
    while (sent < 256 * kMiB && client.send(piece)) sent += kMiB;
    EXPECT_LT(sent, 256 * kMiB) << head;
    EXPECT_TRUE(client.is_ended_within(seconds(30))) << head;
    expect_honest();
  }
  EXPECT_LT(figures_of(::getpid()).resident_bytes, before + 100 * kMiB);
}

TEST_F(MetricsAbuse, HeadersAreBounded) {
  const auto with_field = [](size_t size) { return request("GET", "X: " + std::string(size, 'y') + "\r\n"); };
  EXPECT_THAT(answer(with_field(4 << 10)), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(answer(with_field(9 << 10)), Not(HasSubstr(kName)));
  RawClient endless = connect("GET /metrics HTTP/1.1\r\nX: ");
  const std::string piece(kMiB, 'y');
  int64_t sent = 0;
  while (sent < 256 && endless.send(piece)) ++sent;
  EXPECT_LT(sent, 256);
  EXPECT_THAT(answer(std::string(9 << 10, 'G')), Not(StartsWith("HTTP/1.1 2")));
  expect_honest();
}

// A hundred that say nothing: they give way to others at once, and hold no descriptor.
TEST_F(MetricsAbuse, IdleConnectionsGiveWay) {
  const int64_t before = figures_of(::getpid()).descriptors;
  std::vector<RawClient> idle;
  for (int i = 0; i < 100; ++i) idle.push_back(connect());
  expect_honest();
  EXPECT_LE(figures_of(::getpid()).descriptors - before, 100 + 30);  // ours, and those that the service keeps
  for (int i = 0; i < 3; ++i) expect_honest();
}

// A byte now and then is no reason to wait longer.
TEST_F(MetricsAbuse, LongDrippingClientsAreClosed) {
  const auto begin = Clock::now();
  std::vector<RawClient> dripping;
  for (int i = 0; i < 8; ++i) dripping.push_back(connect("GET /metrics HTTP/1.1\r\nX: "));
  std::vector<bool> over(dripping.size(), false);
  while (std::ranges::count(over, false) > 0 && seconds_since(begin) < 60) {
    for (size_t i = 0; i < dripping.size(); ++i) over[i] = over[i] || !dripping[i].send("y");
    expect_honest();
    std::this_thread::sleep_for(milliseconds(100));
  }
  EXPECT_EQ(std::ranges::count(over, false), 0);
  EXPECT_GT(seconds_since(begin), 4);
  EXPECT_LT(seconds_since(begin), 5 + 20);
}

}  // namespace
}  // namespace octet::testing
