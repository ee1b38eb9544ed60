// The log of a service: nobody reads it, or what clients send is in it.
#include <grpcpp/grpcpp.h>

#include "runtime/service/health.grpc.pb.h"
#include "runtime/service/octet.grpc.pb.h"
#include "tests/launcher/unread_errors.h"
#include "tests/service/serve_job.h"

namespace octet::testing {
namespace {

using nlohmann::json;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

std::unique_ptr<v1::Generation::Stub> stub_of(const ServeJob& job) {
  return v1::Generation::NewStub(grpc::CreateChannel(job.address(), grpc::InsecureChannelCredentials()));
}

bool generation_is_serving(const std::shared_ptr<grpc::Channel>& channel) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  grpc::health::v1::HealthCheckRequest request;
  request.set_service("octet.v1.Generation");
  grpc::health::v1::HealthCheckResponse response;
  const auto stub = grpc::health::v1::Health::NewStub(channel);
  return stub->Check(&context, request, &response).ok() &&
         response.status() == grpc::health::v1::HealthCheckResponse::SERVING;
}

grpc::Status call(v1::Generation::Stub& stub, const std::string& request_id, int num_samples = 1) {
  v1::GenerateRequest request;
  request.set_text("In the");
  request.set_request_id(request_id);
  request.mutable_sampling()->set_n(num_samples);
  request.mutable_stop()->set_max_new_tokens(1);
  request.mutable_stop()->set_ignore_eos(true);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  v1::GenerateResponse response;
  return stub.Generate(&context, request, &response);
}

// A service whose log nobody reads: a process alone, or ranks of a job, whose lines octet run passes on.
class UnreadService {
 public:
  explicit UnreadService(int num_ranks = 0)
      : channel_(grpc::CreateChannel(address_, grpc::InsecureChannelCredentials())),
        stub_(v1::Generation::NewStub(channel_)),
        run_(command(num_ranks), errors_.launch()) {}

  bool is_serving() const { return generation_is_serving(channel_); }
  v1::Generation::Stub& stub() { return *stub_; }
  UnreadErrors& errors() { return errors_; }
  RunningOctet& run() { return run_; }

 private:
  std::vector<std::string> command(int num_ranks) const {
    const std::vector<std::string> serve = {
        "serve", "--listen", address_, "--metrics-listen", "127.0.0.1:0", "--max-context", "1024", "--max-batch", "16"};
    return num_ranks == 0 ? serve : on_ranks(num_ranks, serve);
  }

  const std::string address_ = "127.0.0.1:" + std::to_string(free_port());
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Generation::Stub> stub_;
  UnreadErrors errors_;
  RunningOctet run_;
};

class UnreadLog : public JobTest, public ::testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(Ranks, UnreadLog, ::testing::Values(0, 2));

TEST_P(UnreadLog, CallsGoOnBeingAnswered) {
  UnreadService service(GetParam());
  ASSERT_TRUE(comes_true([&] { return service.is_serving(); }));
  const std::string long_id(100, 'i');
  for (int i = 0; i < 150; ++i) {  // of 200 bytes and more each, where the pipe has room for 4,096
    const grpc::Status status = call(service.stub(), long_id + std::to_string(i));
    ASSERT_TRUE(status.ok()) << i << ": " << status.error_message();
  }
  EXPECT_TRUE(service.is_serving());
  EXPECT_GT(service.errors().num_unread(), 3000) << "the pipe was not full: this shows nothing";
  // Somebody reads in the end: what waits in the queues comes, and what is said at the end.
  service.run().send(SIGTERM);
  const std::string log = service.errors().read_to_end();
  EXPECT_EQ(service.run().wait().exit_code, 0) << log;
  EXPECT_THAT(log, HasSubstr("request=" + long_id + "149 sample=0 finish=length"));
  EXPECT_THAT(log, HasSubstr("draining"));
}

TEST(UnreadLogOfAService, WhatIsLostIsCounted) {
  UnreadService service;
  ASSERT_TRUE(comes_true([&] { return service.is_serving(); }));
  const std::string long_id(124, 'i');
  // A sample's line has 250 bytes; a MiB of them is kept.
  for (int i = 0; i < 700; ++i) ASSERT_TRUE(call(service.stub(), long_id + std::to_string(1000 + i), 8).ok());
  service.run().send(SIGTERM);
  const auto lines = lines_of(service.errors().read_to_end());
  EXPECT_EQ(service.run().wait().exit_code, 0);
  EXPECT_THAT(lines, Contains(::testing::MatchesRegex("octet: [0-9]+ lines lost: nobody read standard error")));
  EXPECT_THAT(lines.back(), HasSubstr("health: not serving"));
  EXPECT_GT(lines.size(), 1000U) << "the newest are kept";
}

TEST(UnreadLogOfAService, AReaderWhoHasGoneIsNoTrouble) {
  UnreadService service;
  ASSERT_TRUE(comes_true([&] { return service.is_serving(); }));
  service.errors().stop_reading();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(call(service.stub(), std::to_string(i)).ok());
  service.run().send(SIGTERM);
  EXPECT_EQ(service.run().wait().exit_code, 0);
}

// In one line of the log each, whatever a client calls its request.
const std::vector<std::string> kHostileIds = {"x\noctet: rank 1 (host b) died: y",
                                              "\noctet rank 1: rank 1 (host b) died: y\n",
                                              std::string("a\0b", 3),
                                              std::string(62, '-'),
                                              std::string(62, '-') + "\n" + std::string(62, '-'),
                                              "\x1b[2J",
                                              "\u009b2J",
                                              "\u2028",
                                              "'\\\""};

TEST(ServiceLog, HostileRequestIdsStayInTheirLines) {
  ServeJob job;
  const auto stub = stub_of(job);
  for (const std::string& id : kHostileIds) ASSERT_TRUE(call(*stub, id).ok());
  ASSERT_TRUE(call(*stub, "the-last").ok());
  job.await("request=the-last");
  job.run().send(SIGTERM);
  const Outcome outcome = job.run().wait();
  EXPECT_EQ(outcome.exit_code, 0);
  size_t num_requests = 0;
  for (const std::string& line : lines_of(outcome.err)) {
    EXPECT_TRUE(line.starts_with("octet: ")) << line;
    EXPECT_EQ(line.find_first_of(std::string("\0\x1b", 2)), std::string::npos) << line;
    EXPECT_THAT(line, Not(::testing::StartsWith("octet: rank 1")));
    if (line.starts_with("octet: request=") && !line.starts_with("octet: request=warm-up ")) ++num_requests;
  }
  EXPECT_EQ(num_requests, kHostileIds.size() + 1);
  EXPECT_THAT(outcome.err, HasSubstr(R"(request='x\x0aoctet: rank 1 (host b) died: y' sample=0 finish=length)"));
}

TEST(ServiceLog, JsonHasTypedFields) {
  ServeJob job({.flags = {"--log-format", "json"}});
  const auto stub = stub_of(job);
  for (const std::string& id : kHostileIds) ASSERT_TRUE(call(*stub, id).ok());
  EXPECT_FALSE(call(*stub, "bad", 100'000).ok());
  job.await("\"bad\"");
  job.run().send(SIGTERM);
  const Outcome outcome = job.run().wait();
  EXPECT_EQ(outcome.exit_code, 0);
  std::vector<std::string> ids;
  bool has_failed = false;
  for (const std::string& line : lines_of(outcome.err)) {
    const json object = json::parse(line);
    for (const char* key : {"time", "level", "rank", "message"}) EXPECT_TRUE(object.contains(key)) << line;
    if (object.contains("finish") && object["request"] != "warm-up") {
      ids.push_back(object["request"]);
      EXPECT_EQ(object["finish"], "length");
      EXPECT_EQ(object["output_tokens"], 1);
      EXPECT_EQ(object["sample"], 0);
      EXPECT_TRUE(object["s"].is_number_float());
    }
    if (object.value("request", "") == "bad") has_failed = object["reason"] == "invalid_argument";
  }
  EXPECT_EQ(ids, kHostileIds);
  EXPECT_TRUE(has_failed);
}

class JobLog : public JobTest {};

TEST_F(JobLog, IsJsonOfEveryRankAndOfTheLauncher) {
  ServeJob job({.num_ranks = 2, .run_flags = {"--log-format", "json"}});
  job.run().send(SIGTERM);
  const Outcome outcome = job.run().wait();
  EXPECT_EQ(outcome.exit_code, 0);
  std::set<int> ranks;
  for (const std::string& line : lines_of(outcome.err)) {
    const json object = json::parse(line, nullptr, false);
    ASSERT_TRUE(object.is_object()) << line;
    ranks.insert(object["rank"].get<int>());
  }
  EXPECT_THAT(ranks, Contains(1));
}

}  // namespace
}  // namespace octet::testing
