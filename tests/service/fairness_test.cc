// What one client sends does not hold back what another asks.
#include <future>

#include "tests/service/test_server.h"

namespace octet::testing {
namespace {

// Texts that take the tokenizer long.
v1::TokenizeRequest large_text(uint32_t seed, int64_t num_bytes) {
  v1::TokenizeRequest request;
  std::string& text = *request.mutable_text();
  for (uint64_t state = seed; std::ssize(text) < num_bytes;) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    text += static_cast<char>('a' + (state >> 40) % 26);
    if ((state >> 50) % 6 == 0) text += ' ';
  }
  return request;
}

// So many unary calls at once on one connection, begun again as they end, until this goes.
class TokenizeFlood {
 public:
  TokenizeFlood(const TestServer& server, int num_callers) {
    for (int i = 0; i < num_callers; ++i) {
      callers_.push_back(std::async(std::launch::async, [this, channel = server.connected(), i] {
        const auto stub = v1::Generation::NewStub(channel);
        const v1::TokenizeRequest request = large_text(static_cast<uint32_t>(i), 100 << 10);
        while (!over_) {
          grpc::ClientContext context;
          v1::TokenizeResponse response;
          const grpc::Status status = stub->Tokenize(&context, request, &response);
          EXPECT_TRUE(status.ok() || retry_seconds_of(status)) << status.error_message();
          if (status.ok()) ++num_answers_;
          if (!status.ok()) std::this_thread::sleep_for(std::chrono::milliseconds(20));
        }
      }));
    }
  }
  ~TokenizeFlood() { over_ = true; }
  int num_answers() const { return num_answers_; }

 private:
  std::atomic<bool> over_ = false;
  std::atomic<int> num_answers_ = 0;
  std::vector<std::future<void>> callers_;
};

double median_seconds(Stub& stub, int count) {
  std::vector<double> times;
  for (int i = 0; i < count; ++i) {
    const Reply reply = stream(stub, text_request("the quick brown fox " + std::to_string(i), 8));
    EXPECT_TRUE(reply.status.ok()) << reply.status.error_message();
    EXPECT_EQ(reply.samples.at(0).last.usage().completion_tokens(), 8U);
    times.push_back(reply.seconds);
  }
  std::ranges::sort(times);
  return times[times.size() / 2];
}

TEST(Fairness, TokenizeDoesNotHoldBackGenerate) {
  const TestServer server;
  const auto stub = server.stub();
  const double alone = median_seconds(*stub, 5);
  TokenizeFlood flood(server, 64);
  while (flood.num_answers() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const double beside = median_seconds(*stub, 5);
  std::printf("eight tokens: %.1f ms alone, %.1f ms beside 64 callers of Tokenize\n", 1e3 * alone, 1e3 * beside);
  EXPECT_LT(beside, 2);  // where the two shared a queue it took most of a minute
}

}  // namespace
}  // namespace octet::testing
