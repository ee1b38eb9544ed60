// What the service promises under load: memory comes back, neighbours do not notice, the excess is refused, and who
// does not read is dropped.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <random>

#include "tests/service/ranked_server.h"

namespace octet::testing {
namespace {

using std::chrono::milliseconds;

std::future<Reply> begin(TestServer& server, v1::GenerateRequest request, CallOptions options = {}) {
  return std::async(std::launch::async, [&server, request = std::move(request), options] {
    return stream(*server.stub(), request, options);
  });
}

// The tokens are listed, and drawn, so that every stream has its own.
v1::GenerateRequest drawn_request(uint32_t number, int prompt_tokens, uint32_t max_new_tokens) {
  v1::GenerateRequest request = token_request(prompt_tokens, max_new_tokens, number);
  request.mutable_sampling()->set_temperature(1);
  request.mutable_sampling()->set_seed(number);
  request.mutable_response()->set_return_token_ids(true);
  return request;
}

// Streams that are given up after some chunks, or aborted by name.
void expect_cancels_free_memory(int count) {
  TestServer server(TestServerOptions{.kv_cache_tokens = 64 * 128});
  const v1::GenerateRequest first = drawn_request(1000, 20, 400), second = drawn_request(1001, 200, 400);
  const std::vector<int32_t> first_alone = stream(*server.stub(), first).tokens();
  const std::vector<int32_t> second_alone = stream(*server.stub(), second).tokens();
  server.runner().slow_down(milliseconds(1));
  auto first_beside = begin(server, first), second_beside = begin(server, second);
  std::atomic<uint32_t> next = 0;
  const auto cancel_some = [&] {
    const auto stub = server.stub();
    for (uint32_t i = next++; i < static_cast<uint32_t>(count); i = next++) {
      std::mt19937 random(i);
      v1::GenerateRequest request = drawn_request(i, 1 + static_cast<int>(random() % 300), 3000);
      request.set_request_id(fmt::format("cancelled-{}", i));
      grpc::ClientContext context;
      const auto reader = stub->GenerateStream(&context, request);
      v1::GenerateChunk chunk;
      for (uint64_t reads = random() % 6; reads > 0 && reader->Read(&chunk);) --reads;
      if (random() % 2 == 0) {
        context.TryCancel();
      } else {
        grpc::ClientContext abort_context;
        v1::AbortRequest abort;
        v1::AbortResponse response;
        abort.set_request_id(request.request_id());
        EXPECT_TRUE(stub->Abort(&abort_context, abort, &response).ok());
        // It may have come before the request that it names.
        std::this_thread::sleep_for(milliseconds(random() % 5));
        context.TryCancel();
      }
      while (reader->Read(&chunk)) continue;
      EXPECT_EQ(reader->Finish().error_code(), GrpcCode::CANCELLED);
    }
  };
  std::vector<std::future<void>> cancellers;
  for (int i = 0; i < 4; ++i) cancellers.push_back(std::async(std::launch::async, cancel_some));
  for (auto& canceller : cancellers) canceller.get();
  EXPECT_EQ(first_beside.get().tokens(), first_alone);
  EXPECT_EQ(second_beside.get().tokens(), second_alone);
  EXPECT_EQ(server.await_idle(), 0);
}

TEST(Cancel, FreesMemoryAndHarmsNoNeighbour) { expect_cancels_free_memory(40); }
TEST(Cancel, LongFreesMemoryAndHarmsNoNeighbour) { expect_cancels_free_memory(500); }

// Many calls whose time is over at once.
void expect_deadline_storm_passes(int count, double most_delay) {
  TestServer server;
  const v1::GenerateRequest normal = drawn_request(1, 20, 50);
  const auto seconds_of_normal = [&] {
    std::vector<double> seconds;
    for (int i = 0; i < 5; ++i) {
      const Reply reply = stream(*server.stub(), normal);
      EXPECT_TRUE(reply.status.ok()) << reply.status.error_message();
      seconds.push_back(reply.seconds);
    }
    std::ranges::sort(seconds);
    return seconds[2];
  };
  const double before = seconds_of_normal();
  std::atomic<int> next = 0;
  std::vector<std::future<void>> callers;
  for (int caller = 0; caller < 8; ++caller) {
    callers.push_back(std::async(std::launch::async, [&] {
      const auto stub = server.stub();
      for (int i = next++; i < count; i = next++) {
        const Reply reply =
            stream(*stub, drawn_request(static_cast<uint32_t>(i), 100, 1000), {.deadline = milliseconds(1 + i % 50)});
        EXPECT_TRUE(reply.status.error_code() == GrpcCode::DEADLINE_EXCEEDED ||
                    reply.status.error_code() == GrpcCode::RESOURCE_EXHAUSTED)
            << reply.status.error_message();
      }
    }));
  }
  for (auto& caller : callers) caller.get();
  EXPECT_EQ(server.await_idle(), 0);
  const double after = seconds_of_normal();
  EXPECT_LT(after, most_delay * before);
  std::printf("a normal call: %.1f ms before, %.1f ms after\n", 1e3 * before, 1e3 * after);
}

TEST(DeadlineStorm, EndsAndLeavesTheServerAsItWas) { expect_deadline_storm_passes(200, 2 * 5); }
TEST(DeadlineStorm, LongEndsAndLeavesTheServerAsItWas) { expect_deadline_storm_passes(1000, 2); }

// So many at once, of clients that are connected; the batch and the queue take theirs, the rest is refused while the
// engine stands still.
void expect_excess_is_refused(int count, int64_t max_batch, int64_t max_queue, double most_seconds) {
  TestServerOptions options;
  options.engine.max_batch = max_batch;
  options.server.limits.max_queue = max_queue;
  TestServer server(options);
  server.runner().close();
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  for (int i = 0; i < count; ++i) channels.push_back(server.connected());
  std::atomic<int> num_refused = 0;
  std::vector<std::future<Reply>> replies;
  for (int i = 0; i < count; ++i) {
    replies.push_back(std::async(std::launch::async, [&, i] {
      const auto stub = v1::Generation::NewStub(channels[static_cast<size_t>(i)]);
      Reply reply = stream(*stub, drawn_request(static_cast<uint32_t>(i), 5, 5));
      if (!reply.status.ok()) ++num_refused;
      return reply;
    }));
  }
  const int num_taken = static_cast<int>(max_batch + max_queue);
  const auto begin = Clock::now();
  while (num_refused < count - num_taken && seconds_since(begin) < 60) std::this_thread::sleep_for(milliseconds(5));
  EXPECT_EQ(num_refused, count - num_taken);
  server.runner().open();
  double slowest = 0;
  for (auto& future : replies) {
    const Reply reply = future.get();
    if (reply.status.ok()) continue;
    EXPECT_EQ(reply.status.error_code(), GrpcCode::RESOURCE_EXHAUSTED);
    EXPECT_GT(retry_seconds_of(reply.status).value_or(0), 0);
    slowest = std::max(slowest, reply.seconds);
  }
  EXPECT_LT(slowest, most_seconds);
  std::printf("%d of %d refused, the slowest after %.1f ms\n", num_refused.load(), count, 1e3 * slowest);
  EXPECT_EQ(num_refused, count - num_taken);
  EXPECT_EQ(server.await_idle(), 0);
}

TEST(Overload, RefusesTheExcessAtOnce) { expect_excess_is_refused(40, 4, 12, 20); }
TEST(Overload, LongRefusesTheExcessAtOnce) { expect_excess_is_refused(256, 32, 64, 0.05); }

// What clients hear of a stream that they began, and may read later.
class OpenStream {
 public:
  // With little room on the client's side for what it has not read.
  OpenStream(const TestServer& server, const v1::GenerateRequest& request) {
    grpc::ChannelArguments little_room;
    little_room.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    little_room.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 4096);
    stub_ = v1::Generation::NewStub(server.connected(little_room));
    reader_ = stub_->GenerateStream(&context_, request);
  }

  // Waits until something of the answer is there to be read.
  void await_start() { reader_->WaitForInitialMetadata(); }
  // Reads to the end.
  Reply read() {
    Reply reply;
    for (v1::GenerateChunk chunk; reader_->Read(&chunk);) reply.add(chunk);
    reply.status = reader_->Finish();
    return reply;
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<Stub> stub_;
  std::unique_ptr<grpc::ClientReader<v1::GenerateChunk>> reader_;
};

// More than flow control lets through while nobody reads.
v1::GenerateRequest long_request(uint32_t number) {
  v1::GenerateRequest request = drawn_request(number, 20, 800);
  request.mutable_response()->set_logprobs(20);
  return request;
}

// The mean time between two tokens of these clients, the slowest one's.
double seconds_between_tokens(TestServer& server, int num_readers, const std::vector<int32_t>& expected) {
  std::vector<std::future<Reply>> readers;
  for (int i = 0; i < num_readers; ++i) readers.push_back(begin(server, drawn_request(1, 20, 300)));
  double slowest = 0;
  for (auto& reader : readers) {
    const Reply reply = reader.get();
    EXPECT_TRUE(reply.status.ok()) << reply.status.error_message();
    if (!reply.status.ok()) continue;
    EXPECT_EQ(reply.tokens(), expected);
    const double seconds = reply.chunk_seconds.back() - reply.chunk_seconds.front();
    slowest = std::max(slowest, seconds / static_cast<double>(expected.size() - 1));
  }
  return slowest;
}

std::vector<std::unique_ptr<OpenStream>> open_streams(const TestServer& server, int count) {
  std::vector<std::unique_ptr<OpenStream>> streams;
  for (int i = 0; i < count; ++i) {
    streams.push_back(std::make_unique<OpenStream>(server, long_request(100 + static_cast<uint32_t>(i))));
  }
  for (auto& stream : streams) stream->await_start();
  return streams;
}

// Some clients read; so many others do, too, or never do. The latter are dropped in the end.
void expect_slow_clients_to_delay_nobody(int num_readers, int num_others, double most_delay) {
  TestServerOptions options;
  options.kv_cache_tokens = 64 * 512;
  std::vector<int32_t> alone;
  double undisturbed = 0, beside_readers = 0;
  {
    TestServer patient(options);
    alone = stream(*patient.stub(), drawn_request(1, 20, 300)).tokens();
    undisturbed = seconds_between_tokens(patient, num_readers, alone);
    const auto others = open_streams(patient, num_others);
    std::vector<std::future<Reply>> reading;
    for (const auto& other : others) reading.push_back(std::async(std::launch::async, [&] { return other->read(); }));
    beside_readers = seconds_between_tokens(patient, num_readers, alone);
    for (auto& reply : reading) EXPECT_TRUE(reply.get().status.ok());
  }
  options.server.limits.stall_limit = milliseconds(2000);
  TestServer server(options);
  const auto stalled = open_streams(server, num_others);
  const double beside_stalled = seconds_between_tokens(server, num_readers, alone);
  std::printf("between tokens: %.2f ms, %.2f ms beside %d that read, %.2f ms beside as many that do not\n",
              1e3 * undisturbed, 1e3 * beside_readers, num_others, 1e3 * beside_stalled);
  EXPECT_LT(beside_stalled, most_delay * beside_readers);
  EXPECT_TRUE(server.server().wait_until_drained(std::chrono::minutes(1)));
  for (const auto& stream : stalled) {
    const Reply reply = stream->read();
    EXPECT_EQ(reply.status.error_code(), GrpcCode::RESOURCE_EXHAUSTED) << reply.status.error_message();
    EXPECT_THAT(reply.status.error_message(), ::testing::HasSubstr("has read nothing for 2 s"));
    EXPECT_LT(reply.tokens().size(), 800U);
  }
}

TEST(SlowClient, IsDroppedAndDelaysNobody) { expect_slow_clients_to_delay_nobody(2, 6, 1.5 * 5); }
TEST(SlowClient, LongIsDroppedAndDelaysNobody) { expect_slow_clients_to_delay_nobody(4, 16, 1.5); }

TEST(SlowClient, MayNotLetMoreThanALimitWait) {
  TestServerOptions options;
  options.server.limits.max_outbox_bytes = 32 << 10;
  TestServer server(options);
  OpenStream stalled(server, long_request(1));
  stalled.await_start();
  EXPECT_TRUE(server.server().wait_until_drained(std::chrono::minutes(1)));
  EXPECT_EQ(server.await_idle(), 0);
  const Reply reply = stalled.read();
  EXPECT_EQ(reply.status.error_code(), GrpcCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(reply.status.error_message(), ::testing::HasSubstr("more than 32768 bytes"));
  // What was read can be resumed, here by clients of a server with more patience.
  TestServer patient;
  v1::GenerateRequest rest = long_request(1);
  rest.mutable_resume()->mutable_token_ids()->Assign(reply.tokens().begin(), reply.tokens().end());
  EXPECT_EQ(reply.text() + stream(*patient.stub(), rest).text(), stream(*patient.stub(), long_request(1)).text());
}

TEST(WholeAnswers, AreNoLargerThanWhatMayWait) {
  TestServerOptions options;
  options.server.limits.max_outbox_bytes = 32 << 10;
  TestServer server(options);
  const Reply reply = generate(*server.stub(), long_request(1));
  EXPECT_EQ(reply.status.error_code(), GrpcCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(reply.status.error_message(), ::testing::HasSubstr("more than 32768 bytes: GenerateStream"));
  EXPECT_EQ(server.await_idle(), 0);
  v1::TokenizeRequest text;
  for (int i = 0; i < 4000; ++i) text.mutable_text()->append(" a word");
  grpc::ClientContext context;
  v1::TokenizeResponse tokens;
  const grpc::Status status = server.stub()->Tokenize(&context, text, &tokens);
  EXPECT_EQ(status.error_code(), GrpcCode::RESOURCE_EXHAUSTED) << status.error_message();
  EXPECT_THAT(status.error_message(), ::testing::HasSubstr("more than 32768 bytes"));
}

// Asks for a whole answer over a bare connection, and reads nothing of it: a client of gRPC's would.
class SilentCaller {
 public:
  SilentCaller(const std::string& address, const v1::GenerateRequest& request) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    OCTET_CHECK(::connect(socket_, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0);
    const std::string message = request.SerializeAsString();
    const std::string body = std::string(1, '\0') + number(message.size(), 4) + message;
    const std::string headers = header(":method", "POST") + header(":scheme", "http") +
                                header(":path", "/octet.v1.Generation/Generate") + header(":authority", "a") +
                                header("content-type", "application/grpc") + header("te", "trailers");
    const std::string bytes =
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, "") + frame(1, 4, 1, headers) + frame(0, 1, 1, body);
    OCTET_CHECK(::write(socket_, bytes.data(), bytes.size()) == std::ssize(bytes));
  }
  ~SilentCaller() { ::close(socket_); }

 private:
  static std::string number(size_t value, int num_bytes) {
    std::string bytes;
    for (int i = num_bytes - 1; i >= 0; --i) bytes += static_cast<char>(value >> (8 * i));
    return bytes;
  }
  static std::string frame(char type, char flags, uint32_t stream, const std::string& payload) {
    return number(payload.size(), 3) + type + flags + number(stream, 4) + payload;
  }
  // Literal, not indexed (RFC 7541, 6.2.2).
  static std::string header(const std::string& name, const std::string& value) {
    return number(0, 1) + number(name.size(), 1) + name + number(value.size(), 1) + value;
  }

  const int socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
};

TEST(WholeAnswers, ThatNobodyReadsAreDropped) {
  TestServerOptions options;
  options.server.limits.stall_limit = milliseconds(500);
  TestServer server(options);
  server.runner().close();
  const SilentCaller caller(server.server().address(), long_request(1));
  server.runner().await_step();
  server.runner().open();
  EXPECT_TRUE(server.server().wait_until_drained(std::chrono::minutes(1)));
  EXPECT_EQ(server.await_idle(), 0);
}

// Requests of many kinds, each as it is when nothing else runs.
std::vector<v1::GenerateRequest> mixed_requests(int count) {
  std::vector<v1::GenerateRequest> requests;
  for (uint32_t i = 0; i < static_cast<uint32_t>(count); ++i) {
    std::mt19937 random(i);
    v1::GenerateRequest request =
        drawn_request(i, 1 + static_cast<int>(random() % 150), 100 + static_cast<uint32_t>(random() % 120));
    if (i % 3 == 0) {  // a long common beginning
      *request.mutable_tokens() = token_request(130, 1, 77).tokens();
      request.mutable_tokens()->add_ids(static_cast<int32_t>(5 + i));
    }
    if (i % 4 == 1) request.mutable_sampling()->set_n(2);
    if (i % 5 == 2) request.mutable_sampling()->set_temperature(0);
    if (i % 5 == 3) request.mutable_sampling()->set_frequency_penalty(0.7F);
    if (i % 7 == 4) request.mutable_response()->set_logprobs(2);
    requests.push_back(std::move(request));
  }
  return requests;
}

// What must not differ: all but times.
std::map<uint32_t, std::pair<std::string, std::string>> bytes_of(const Reply& reply) {
  EXPECT_TRUE(reply.status.ok()) << reply.status.error_message();
  std::map<uint32_t, std::pair<std::string, std::string>> bytes;
  for (const auto& [index, sample] : reply.samples) {
    std::string tokens;
    for (const v1::Token& token : sample.token_list) tokens += token.SerializeAsString();
    bytes[index] = {sample.text, tokens + v1::FinishReason_Name(sample.finish)};
  }
  return bytes;
}

// They arrive at random times at a server whose cache is too small for them together.
void expect_isolated(TestServer& server, int count, bool prefix_cache) {
  TestServer roomy;
  const std::vector<v1::GenerateRequest> requests = mixed_requests(count);
  std::vector<std::future<Reply>> replies;
  std::mt19937 random(3);
  for (const v1::GenerateRequest& request : requests) {
    replies.push_back(begin(server, request));
    std::this_thread::sleep_for(milliseconds(random() % 4));
  }
  uint32_t num_preemptions = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    const Reply together = replies[i].get();
    EXPECT_EQ(bytes_of(together), bytes_of(stream(*roomy.stub(), requests[i]))) << i;
    for (const auto& [index, sample] : together.samples) {
      num_preemptions += sample.last.timings().num_preemptions();
    }
  }
  EXPECT_GT(num_preemptions, 0U);
  stream(*server.stub(), requests[0]);  // the small cache may have dropped its beginning
  const Reply again = stream(*server.stub(), requests[0]);
  EXPECT_EQ(again.samples.at(0).last.usage().cached_tokens() > 0, prefix_cache);
  EXPECT_EQ(server.await_idle(), 0);
}

TestServerOptions tight_options(bool prefix_cache, int64_t num_pages) {
  TestServerOptions options;
  options.engine = {.prefill_chunk = 48, .max_batch = 8, .prefix_cache = prefix_cache};
  options.kv_cache_tokens = kPageTokens * num_pages;
  return options;
}

class Isolation : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(PrefixCache, Isolation, ::testing::Bool());

TEST_P(Isolation, UnderLoadOutputsAreThoseOfARequestAlone) {
  TestServer server(tight_options(GetParam(), 9));
  server.runner().slow_down(milliseconds(1));
  expect_isolated(server, 16, GetParam());
}

TEST_P(Isolation, SoTheyAreOnFourRanks) {
  with_ranked_server({.world = 4, .tp = 2, .dp = 2, .ep = 4}, tight_options(GetParam(), 7),
                     [](TestServer& server) { expect_isolated(server, 12, GetParam()); });
}

}  // namespace
}  // namespace octet::testing
