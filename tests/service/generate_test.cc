// What a client that behaves gets.
#include "tests/service/test_server.h"

namespace octet::testing {
namespace {

using ::testing::HasSubstr;

TEST(Generate, StreamsTheTextThatUnaryGivesAtOnce) {
  TestServer server;
  const auto stub = server.stub();
  const v1::GenerateRequest request = text_request("In the beginning", 24);
  server.runner().slow_down(std::chrono::milliseconds(5));  // chunks that wait become one
  const Reply streamed = stream(*stub, request);
  const Reply whole = generate(*stub, request);
  ASSERT_TRUE(streamed.status.ok()) << streamed.status.error_message();
  ASSERT_TRUE(whole.status.ok()) << whole.status.error_message();
  EXPECT_FALSE(streamed.text().empty());
  EXPECT_EQ(streamed.text(), whole.text());
  EXPECT_GT(streamed.num_chunks, 5);
  EXPECT_EQ(whole.num_chunks, 1);
  EXPECT_EQ(streamed.samples.at(0).finish, v1::FINISH_REASON_LENGTH);
}

}  // namespace
}  // namespace octet::testing
