// Metrics, drain and failure of a server.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <latch>
#include <sstream>
#include <thread>

#include "tests/service/test_server.h"

namespace octet::testing {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

// A connection to it.
int connect_to(const std::string& address) {
  const auto colon = address.rfind(':');
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(colon + 1))));
  inet_pton(AF_INET, address.substr(0, colon).c_str(), &to.sin_addr);
  const int descriptor = socket(AF_INET, SOCK_STREAM, 0);
  OCTET_CHECK(connect(descriptor, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0);
  return descriptor;
}

// The body of http://ADDRESS/metrics.
std::string scrape(const std::string& address) {
  const int descriptor = connect_to(address);
  const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
  OCTET_CHECK(write(descriptor, request.data(), request.size()) == static_cast<ssize_t>(request.size()));
  std::string body;
  std::array<char, 4096> piece{};
  for (ssize_t size = 0; (size = read(descriptor, piece.data(), piece.size())) > 0;) {
    body.append(piece.data(), static_cast<size_t>(size));
  }
  close(descriptor);
  return body;
}

// The value of a line of metrics; none: -1.
double value_of(const std::string& metrics, const std::string& name) {
  std::istringstream lines(metrics);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(name + " ")) return std::stod(line.substr(name.size() + 1));
  }
  return -1;
}

// When so many tokens have been generated and the step of the last one is over: a client has its answer before that.
std::string scrape_after(const std::string& address, double num_tokens) {
  for (std::string metrics;; std::this_thread::sleep_for(std::chrono::milliseconds(1))) {
    metrics = scrape(address);
    if (value_of(metrics, "octet_generation_tokens_total") >= num_tokens &&
        value_of(metrics, "octet_num_requests_running") == 0) {
      return scrape(address);
    }
  }
}

TEST(Metrics, CountWhatWasServed) {
  TestServerOptions options{.server = {.metrics_listen = "any"}};
  options.watch.heartbeat_ages = [] { return std::vector<double>{0, 0.25}; };
  options.watch.stale_heartbeat = 2;
  options.watch.phase_totals = [] {
    std::array<PhaseTotals, kNumPhases> totals{};
    totals[static_cast<size_t>(Phase::kDispatch)] = {
        .num_collectives = 3, .nanoseconds = 500'000'000, .bytes_sent = 77, .num_by_time = {1, 0, 2}};
    return totals;
  };
  const TestServer server(options);
  const auto stub = server.stub();
  const std::string& address = server.server().metrics_address();
  const std::string before = scrape_after(address, 1);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(stream(*stub, token_request(100, 10, 5)).status.ok());
  v1::GenerateRequest wrong = text_request("a", 1);
  wrong.mutable_sampling()->set_top_k(-1);
  EXPECT_FALSE(stream(*stub, wrong).status.ok());
  const std::string after = scrape_after(address, 31);
  const auto growth = [&](const std::string& name) { return value_of(after, name) - value_of(before, name); };
  EXPECT_EQ(growth("octet_prompt_tokens_total"), 300);
  EXPECT_EQ(growth("octet_generation_tokens_total"), 30);
  EXPECT_EQ(growth("octet_request_success_total{finished_reason=\"length\"}"), 3);
  EXPECT_EQ(value_of(after, "octet_request_failure_total{reason=\"invalid_argument\"}"), 1);
  EXPECT_EQ(growth("octet_time_to_first_token_seconds_count"), 3);
  EXPECT_EQ(growth("octet_inter_token_latency_seconds_count"), 27);
  for (const char* name : {"e2e_request_latency_seconds", "request_queue_time_seconds", "request_prefill_time_seconds",
                           "request_decode_time_seconds", "request_prompt_tokens", "request_generation_tokens"}) {
    EXPECT_EQ(growth(fmt::format("octet_{}_count", name)), 3) << name;
  }
  EXPECT_EQ(growth("octet_request_prompt_tokens_sum"), 300);
  EXPECT_GT(growth("octet_iteration_tokens_total_count"), 0);
  for (const char* part : {"schedule", "model", "sample", "deliver", "service"}) {
    EXPECT_GT(growth(fmt::format("octet_step_seconds_total{{part=\"{}\"}}", part)), 0) << part;
  }
  EXPECT_GT(value_of(after, "octet_prefix_cache_hits"), 0);
  EXPECT_GT(value_of(after, "octet_prefix_cache_queries"), value_of(after, "octet_prefix_cache_hits"));
  EXPECT_EQ(value_of(after, "octet_num_preemptions_total"), 0);
  EXPECT_EQ(value_of(after, "octet_num_requests_running"), 0);
  EXPECT_EQ(value_of(after, "octet_num_requests_waiting"), 0);
  EXPECT_GE(value_of(after, "octet_kv_cache_usage_perc"), 0);
  EXPECT_EQ(value_of(after, "octet_rank_heartbeat_age_seconds{rank=\"1\"}"), 0.25);
  const auto exchanges_within = [&](const char* bound) {
    return value_of(after, fmt::format("octet_alltoall_seconds_bucket{{phase=\"dispatch\",le=\"{}\"}}", bound));
  };
  EXPECT_EQ(exchanges_within("1e-05"), 1);
  EXPECT_EQ(exchanges_within("2.5e-05"), 1);
  EXPECT_EQ(exchanges_within("5e-05"), 3);
  EXPECT_EQ(exchanges_within("+Inf"), 3);
  EXPECT_EQ(value_of(after, "octet_alltoall_seconds_count{phase=\"dispatch\"}"), 3);
  EXPECT_EQ(value_of(after, "octet_alltoall_seconds_sum{phase=\"dispatch\"}"), 0.5);
  EXPECT_EQ(value_of(after, "octet_alltoall_bytes_total{phase=\"dispatch\"}"), 77);
}

TEST(Metrics, AreThereForOthersWhileAClientIsSilent) {
  const TestServer server(TestServerOptions{.server = {.metrics_listen = "any"}, .ready = false});
  const int silent = connect_to(server.server().metrics_address());
  EXPECT_THAT(scrape(server.server().metrics_address()), HasSubstr("octet_num_requests_running"));
  close(silent);
}

TEST(Metrics, DoNotDelayTheEnd) {
  for (const bool asked : {false, true}) {
    double quickest = 2;
    for (int i = 0; i < 5 && quickest >= 1; ++i) {  // the machine may be busy with other things
      auto server =
          std::make_unique<TestServer>(TestServerOptions{.server = {.metrics_listen = "any"}, .ready = false});
      if (asked) {
        EXPECT_THAT(scrape(server->server().metrics_address()), HasSubstr("octet_num_requests_running"));
      }
      const auto begin = Clock::now();
      server.reset();
      quickest = std::min(quickest, seconds_since(begin));
    }
    EXPECT_LT(quickest, 1);
  }
}

// Streams that are in the middle once they are made: each client has heard of its first token, and with
// `max_new_tokens` steps of 5 ms the end is far.
class StreamsUnderWay {
 public:
  StreamsUnderWay(TestServer& server, int count, uint32_t max_new_tokens) : begun_(count) {
    server.runner().slow_down(milliseconds(5));
    for (int i = 0; i < count; ++i) {
      replies_.push_back(std::async(std::launch::async, [this, &server, i, max_new_tokens] {
        const auto request = token_request(5, max_new_tokens, static_cast<uint32_t>(i));
        const Reply reply = stream(*server.stub(), request, {.on_first_chunk = [this] { begun_.count_down(); }});
        if (reply.num_chunks == 0) begun_.count_down();
        return reply;
      }));
    }
    begun_.wait();
  }
  std::vector<Reply> wait() {
    std::vector<Reply> all;
    for (auto& reply : replies_) all.push_back(reply.get());
    return all;
  }

 private:
  std::latch begun_;
  std::vector<std::future<Reply>> replies_;
};

TEST(Drain, FinishesWhatIsUnderWayAndRefusesTheRest) {
  TestServer server;
  StreamsUnderWay streams(server, 8, 200);
  server.server().drain();
  const Reply late = stream(*server.stub(), text_request("a", 2));
  EXPECT_EQ(late.status.error_code(), GrpcCode::UNAVAILABLE);
  EXPECT_THAT(late.status.error_message(), HasSubstr("draining"));
  for (const Reply& reply : streams.wait()) {
    EXPECT_TRUE(reply.status.ok()) << reply.status.error_message();
    EXPECT_EQ(reply.samples.at(0).finish, v1::FINISH_REASON_LENGTH);
  }
  EXPECT_TRUE(server.server().wait_until_drained(milliseconds(10'000)));
}

// The engine is stuck, as it is in a collective whose rank has died: the clients hear all the same.
void expect_failure_to_be_told(double most_seconds) {
  TestServer server;
  StreamsUnderWay streams(server, 8, 2000);
  server.runner().close();
  server.runner().await_step();
  const auto begin = Clock::now();
  server.server().fail("rank 1 (host a) died: killed by signal 9");
  EXPECT_LT(seconds_since(begin), most_seconds);
  for (const Reply& reply : streams.wait()) {
    EXPECT_EQ(reply.status.error_code(), GrpcCode::UNAVAILABLE);
    EXPECT_THAT(reply.status.error_message(), HasSubstr("rank 1"));
  }
  EXPECT_EQ(stream(*server.stub(), text_request("a", 2)).status.error_code(), GrpcCode::UNAVAILABLE);
  server.runner().open();
}

// 2 s are promised, on a machine that does nothing else.
TEST(Failure, IsToldSoonAlthoughTheEngineHangs) { expect_failure_to_be_told(2 * 5); }
TEST(Failure, LongIsToldSoonAlthoughTheEngineHangs) { expect_failure_to_be_told(2); }

}  // namespace
}  // namespace octet::testing
