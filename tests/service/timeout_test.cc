// The header grpc-timeout, as clients that mean harm may write it.
#include <vector>

#include "tests/service/raw_client.h"
#include "tests/service/test_server.h"

namespace octet::testing {
namespace {

using ::testing::HasSubstr;

constexpr const char* kGenerate = "/octet.v1.Generation/Generate";
// How the library writes a status, the first time in a connection.
constexpr const char* kStatus = "grpc-status\x01";

class Timeout : public ::testing::Test {
 protected:
  // The code of the status that ends a call with this timeout, on a connection of its own; -1: there was none.
  int status_of(std::string_view timeout, uint32_t num_tokens) const {
    RawClient client(server_.server().address());
    EXPECT_TRUE(client.greet());
    const uint32_t call = client.open(kGenerate, "", "", timeout);
    EXPECT_TRUE(client.send_only_message(call, text_request("a", num_tokens).SerializeAsString()));
    const std::string answer = client.read_until(kStatus) + client.read_until("", std::chrono::milliseconds(50));
    const auto at = answer.find(kStatus);
    return at == std::string::npos ? -1 : answer.at(at + std::string_view(kStatus).size()) - '0';
  }

  TestServer server_;
};

// Seconds beyond what a clock of nanoseconds can count, which must not come out as a time in the past.
TEST_F(Timeout, BeyondAllClocksIsNone) {
  for (const char* timeout : {"99999999H", "99999999M", "99999999S", "2562048H", "99999999m", "99999999u"}) {
    EXPECT_EQ(status_of(timeout, 3), grpc::StatusCode::OK) << timeout;
  }
}

TEST_F(Timeout, ThatIsSmallEndsTheCall) {
  server_.runner().slow_down(std::chrono::milliseconds(5));
  for (const char* timeout : {"0S", "0n", "1n", "1u", "200m"}) {
    EXPECT_EQ(status_of(timeout, 4000), grpc::StatusCode::DEADLINE_EXCEEDED) << timeout;
  }
  EXPECT_EQ(server_.await_idle(), 0);
}

TEST_F(Timeout, ThatIsNoneIsAnsweredAndHarmsNobody) {
  for (const std::string_view timeout :
       {"", "H", "x", "1", "-1S", "1.5S", "0x5S", "1SS", "100000000S", "9223372036854775808n", "99999999999999999999H",
        "\xff\xfe", "1 S", "nan", "%s%n"}) {
    EXPECT_GE(status_of(timeout, 3), 0) << timeout;
  }
  EXPECT_TRUE(stream(*server_.stub(), text_request("a", 3)).status.ok());
  EXPECT_EQ(server_.await_idle(), 0);
}

}  // namespace
}  // namespace octet::testing
