// Addresses, and whether somebody answers there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>

#include "runtime/gate/listening.h"
#include "runtime/gate/probe.h"
#include "runtime/gate/socket_address.h"
#include "runtime/gate/token_bucket.h"

namespace octet {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

class Listeners {
 public:
  explicit Listeners(const std::string& address) : listening_(listen_at(*parse_listen_address(address))) {}
  ~Listeners() {
    if (listening_.ok()) std::ranges::for_each(listening_->descriptors, ::close);
  }
  Listening* operator->() { return &*listening_; }
  bool ok() const { return listening_.ok(); }
  std::string why() const { return listening_.status().message(); }

 private:
  Result<Listening> listening_;
};

TEST(Listening, ChoosesAPortAndKnowsIt) {
  Listeners one("127.0.0.1:0");
  ASSERT_TRUE(one.ok()) << one.why();
  EXPECT_GT(one->address.port, 0);
  Listeners other(one->address.text());
  ASSERT_FALSE(other.ok());
  EXPECT_THAT(other.why(), HasSubstr("in use"));
}

TEST(Listening, ReplacesASocketThatNobodyListensAt) {
  const std::string path = ::testing::TempDir() + "octet-" + std::to_string(::getpid()) + ".sock";
  const std::string address = "unix:" + path;
  {
    Listeners first(address);
    ASSERT_TRUE(first.ok()) << first.why();
    EXPECT_EQ(first->address.text(), address);
    EXPECT_FALSE(Listeners(address).ok());  // somebody does
  }
  EXPECT_TRUE(Listeners(address).ok());
  ::unlink(path.c_str());
  std::ofstream(path) << "mine";
  EXPECT_FALSE(Listeners(address).ok());  // a file is no socket
  EXPECT_EQ(::access(path.c_str(), F_OK), 0);
  ::unlink(path.c_str());
}

// A port at which nobody accepts looks alive to the system; the first bytes tell.
TEST(Probe, KnowsAPortThatNobodyLooksAfter) {
  Listeners silent("127.0.0.1:0");
  ASSERT_TRUE(silent.ok());
  EXPECT_FALSE(probe_http2(silent->address, milliseconds(50), {}).ok());
  EXPECT_FALSE(probe_http2(*parse_server_address("127.0.0.1:1"), milliseconds(50), {}).ok());
}

TEST(TokenBucket, AsksForPatienceOnceItIsEmpty) {
  const auto begin = TokenBucket::Clock::now();
  TokenBucket bucket(10, 2);
  EXPECT_EQ(bucket.take(10, begin).count(), 0);
  EXPECT_EQ(bucket.take(4, begin), std::chrono::seconds(2));
  EXPECT_EQ(bucket.take(1, begin + std::chrono::seconds(3)).count(), 0);
}

TEST(TokenBucket, ForgivesWhatIsMoreThanMayBeOwed) {
  const auto begin = TokenBucket::Clock::now();
  TokenBucket bucket(10, 2, 4);
  EXPECT_EQ(bucket.take(1000, begin), std::chrono::seconds(2));
  EXPECT_FALSE(bucket.is_full(begin + std::chrono::seconds(6)));
  EXPECT_TRUE(bucket.is_full(begin + std::chrono::seconds(8)));
}

}  // namespace
}  // namespace octet
