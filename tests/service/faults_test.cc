// What clients see of a service whose ranks die, hang, start badly, come back and drain.
#include <grpcpp/grpcpp.h>

#include <cstring>

#include "runtime/service/health.grpc.pb.h"
#include "runtime/service/octet.grpc.pb.h"
#include "tests/service/serve_job.h"

namespace octet::testing {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

// What is promised. Machines that run tests are busy: there it may take kSlack times as long, and in the full-length
// run no longer.
constexpr Seconds kRpcsEndWithin{2}, kJobEndsWithin{5}, kStartFailsWithin{20};
constexpr double kSlack = 5;
constexpr int kNumRanks = 3;
constexpr int64_t kEndless = 4000;

class ServeFaultTest : public JobTest {};
// Of each rank, with a slack and a heartbeat limit in seconds.
class RankOfServiceTest : public JobTest, public ::testing::WithParamInterface<std::tuple<int, double, int>> {
 protected:
  int rank_ = std::get<0>(GetParam());
  double slack_ = std::get<1>(GetParam());
  int heartbeat_limit_ = std::get<2>(GetParam());
};
INSTANTIATE_TEST_SUITE_P(Rank, RankOfServiceTest,
                         ::testing::Combine(::testing::Range(0, kNumRanks), ::testing::Values(kSlack),
                                            ::testing::Values(4)));
INSTANTIATE_TEST_SUITE_P(LongRank, RankOfServiceTest,
                         ::testing::Combine(::testing::Range(0, kNumRanks), ::testing::Values(1),
                                            ::testing::Values(10)));

// Whether grpc.health.v1 says SERVING of the service; none: no answer.
std::optional<bool> is_serving(const std::string& address) {
  const auto stub = grpc::health::v1::Health::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  grpc::health::v1::HealthCheckRequest request;
  request.set_service("octet.v1.Generation");
  grpc::health::v1::HealthCheckResponse response;
  if (!stub->Check(&context, request, &response).ok()) return std::nullopt;
  return response.status() == grpc::health::v1::HealthCheckResponse::SERVING;
}

bool is_loading(const std::string& address) {
  const auto stub = v1::Generation::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  v1::ServerInfo info;
  return stub->GetServerInfo(&context, {}, &info).ok() && info.state() == v1::ServerInfo::STATE_LOADING;
}

// What the job says of the lost rank, beside what it says of each request.
std::vector<std::string> job_lines(const Outcome& outcome) {
  auto lines = lines_about_lost_ranks(outcome);
  std::erase_if(lines, [](const std::string& line) { return line.find("request=") != std::string::npos; });
  return lines;
}

void begin_streams(Streams& streams, int count, int64_t max_tokens) {
  for (int i = 0; i < count; ++i) {
    streams.begin(greedy_call("In the beginning of year " + std::to_string(i), max_tokens));
  }
  ASSERT_TRUE(streams.listen_until_all_speak());
}

void expect_unavailable_soon(Streams& streams, Clock::time_point since, double slack) {
  ASSERT_TRUE(streams.listen_to_the_end());
  Seconds last{0};
  for (size_t i = 0; i < streams.size(); ++i) {
    EXPECT_EQ(streams[i].end->code, RpcCode::kUnavailable) << streams[i].end->status.message();
    last = std::max(last, Seconds(streams[i].ended_at - since));
  }
  EXPECT_LT(last, kRpcsEndWithin * slack);
  std::printf("the last stream ended after %.3f s\n", last.count());
}

Outcome expect_end_soon(ServeJob& job, Clock::time_point since, double slack) {
  Outcome outcome = job.run().wait();
  const Seconds taken = Clock::now() - since;
  EXPECT_LT(taken, kJobEndsWithin * slack);
  std::printf("the job ended after %.3f s\n", taken.count());
  return outcome;
}

TEST_P(RankOfServiceTest, KilledEndsEveryStreamWithUnavailable) {
  ServeJob job({.num_ranks = kNumRanks});
  Streams streams(job.client());
  begin_streams(streams, 8, kEndless);
  const pid_t process = process_of_rank(job.run(), rank_);
  ASSERT_GT(process, 0);
  ::kill(process, SIGKILL);
  const auto start = Clock::now();
  expect_unavailable_soon(streams, start, slack_);
  const Outcome outcome = expect_end_soon(job, start, slack_);
  EXPECT_EQ(outcome.exit_code, 3);
  ASSERT_THAT(job_lines(outcome), SizeIs(1)) << outcome.err;
  EXPECT_THAT(job_lines(outcome)[0],
              AllOf(HasSubstr("rank " + std::to_string(rank_) + " (host "), HasSubstr("killed by signal 9")));
}

TEST_P(RankOfServiceTest, HungBeyondTheLimitEndsEveryStreamAndIsNamed) {
  const std::string limit = std::to_string(heartbeat_limit_);
  ServeJob job({.num_ranks = kNumRanks, .flags = {"--heartbeat-limit", limit}});
  Streams streams(job.client());
  begin_streams(streams, 8, kEndless);
  const pid_t process = process_of_rank(job.run(), rank_);
  ASSERT_GT(process, 0);
  std::this_thread::sleep_for(Seconds(2));  // for a heartbeat to tell where it is
  ::kill(process, SIGSTOP);
  const auto start = Clock::now() + std::chrono::seconds(heartbeat_limit_);
  expect_unavailable_soon(streams, start, slack_);
  const Outcome outcome = expect_end_soon(job, start, slack_);
  EXPECT_EQ(outcome.exit_code, 3);
  ASSERT_THAT(job_lines(outcome), SizeIs(1)) << outcome.err;
  EXPECT_THAT(job_lines(outcome)[0],
              AllOf(HasSubstr("rank " + std::to_string(rank_) + " (host "),
                    ContainsRegex("last seen in (layer [0-9]+, |plan|logits)"), ContainsRegex("in [a-z_]+ number")));
  EXPECT_GE(seconds_silent(job_lines(outcome)[0]), heartbeat_limit_);
}

TEST_F(ServeFaultTest, RankThatHangsForAWhileCostsTimeOnly) {
  constexpr int64_t kTokens = 300;
  ServeJob job({.num_ranks = kNumRanks, .flags = {"--heartbeat-limit", "20"}});
  Streams streams(job.client());
  begin_streams(streams, 2, kTokens);
  const pid_t process = process_of_rank(job.run(), 1);
  ASSERT_GT(process, 0);
  ::kill(process, SIGSTOP);
  std::this_thread::sleep_for(Seconds(3));
  ::kill(process, SIGCONT);
  ASSERT_TRUE(streams.listen_to_the_end());
  for (size_t i = 0; i < streams.size(); ++i) {
    EXPECT_TRUE(streams[i].end->ok()) << streams[i].end->status.message();
    EXPECT_EQ(streams[i].text, local_text("In the beginning of year " + std::to_string(i), kTokens));
  }
}

// Copies the demo model, with a NaN in the last layer's last expert.
void write_damaged_model(const std::filesystem::path& folder) {
  std::filesystem::copy(kDemoModel, folder);
  std::string file = read_file(folder / "model.safetensors");
  uint64_t header_size = 0;
  std::memcpy(&header_size, file.data(), sizeof(header_size));
  const auto header = nlohmann::json::parse(file.substr(8, header_size));
  const auto& tensor = header["model.layers.3.block_sparse_moe.experts.7.w1.weight"];
  ASSERT_EQ(tensor["dtype"], "BF16");
  const size_t offset = 8 + header_size + tensor["data_offsets"][0].get<size_t>();
  file[offset] = '\xff';
  file[offset + 1] = '\x7f';
  write_file(folder / "model.safetensors", file);
}

// Rank 3 finds the damaged model where the others find the good one.
void expect_start_to_fail_whole(double slack) {
  const TempFolder folder;
  write_damaged_model(folder / "damaged");
  std::filesystem::copy(kDemoModel, folder / "model");
  const std::string damaged = folder / "damaged", model = folder / "model", program = folder / "octet";
  write_file(program, "#!/bin/sh\n[ \"$OMPI_COMM_WORLD_RANK\" = 3 ] || exec " OCTET_BINARY
                      " \"$@\"\nexec unshare --mount sh -c 'mount --bind \"$0\" \"$1\" && shift && exec \"$@\"' " +
                          damaged + " " + model + " " OCTET_BINARY " \"$@\"\n");
  std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  write_file(folder / "cluster.toml", "ranks = 4\nbinary = \"" + program + "\"\n");
  const auto start = Clock::now();
  const Outcome outcome = run_octet({"run", "--cluster", folder / "cluster.toml", "--restart", "3", "--", "serve",
                                     "--model", model, "--check-weights", "--listen",
                                     "127.0.0.1:" + std::to_string(free_port()), "--metrics-listen", "127.0.0.1:0"});
  const Seconds taken = Clock::now() - start;
  EXPECT_LT(taken, kStartFailsWithin * slack);
  std::printf("the start failed after %.3f s\n", taken.count());
  EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
  EXPECT_THAT(outcome.err, AllOf(Not(HasSubstr("ready: ")), Not(HasSubstr("restart 1")), Not(HasSubstr("-----"))));
  std::vector<std::string> lines;
  for (const std::string& line : lines_of(outcome.err)) {
    if (line.find("layer 3, expert 7 w1 is NaN") != std::string::npos) lines.push_back(line);
  }
  ASSERT_THAT(lines, SizeIs(1)) << outcome.err;
  EXPECT_THAT(lines[0], HasSubstr(model));
}

TEST_F(ServeFaultTest, AStartThatFailsOnOneRankFailsWhole) { expect_start_to_fail_whole(kSlack); }
TEST_F(ServeFaultTest, LongAStartThatFailsOnOneRankFailsWhole) { expect_start_to_fail_whole(1); }

TEST_F(ServeFaultTest, ReadyOnlyWhileItCanServe) {
  ServeJob job({.num_ranks = 2, .flags = {"--heartbeat-limit", "20"}, .wait_until_ready = false});
  // A rank that sleeps keeps the model from being loaded.
  ASSERT_TRUE(comes_true([&] { return process_of_rank(job.run(), 1) > 0; }));
  const pid_t process = process_of_rank(job.run(), 1);
  job.await("listening on ");
  ::kill(process, SIGSTOP);
  if (is_loading(job.address())) {  // it may have been faster than we are
    Streams early(job.client());
    const Heard& refused = early.begin(greedy_call("In the beginning", 2));
    ASSERT_TRUE(early.listen_to_the_end());
    EXPECT_EQ(refused.end->code, RpcCode::kFailedPrecondition) << refused.end->status.message();
  }
  ::kill(process, SIGCONT);
  ASSERT_TRUE(comes_true([&] { return is_serving(job.address()) == true; }));
  Streams streams(job.client());
  const Heard& heard = streams.begin(greedy_call("In the beginning", 2));
  ASSERT_TRUE(streams.listen_to_the_end());
  EXPECT_TRUE(heard.end->ok()) << heard.end->status.message();
  ::kill(process, SIGSTOP);
  EXPECT_TRUE(comes_true([&] { return is_serving(job.address()) == false; }));
  ::kill(process, SIGCONT);
  EXPECT_TRUE(comes_true([&] { return is_serving(job.address()) == true; }));
}

TEST_F(ServeFaultTest, ARestartedServiceGoesOnWithTheSameBytes) {
  ServeJob job({.num_ranks = 2, .run_flags = {"--restart", "1"}});
  const std::vector<std::string> sampled = {"generate", "In the beginning", "--temperature", "1",   "--seed",
                                            "5",        "--ignore-eos",     "--max-tokens",  "2000"};
  const pid_t process = process_of_rank(job.run(), 1);
  ASSERT_GT(process, 0);
  RunningOctet client(sampled + std::vector<std::string>{"--server", job.address(), "--resume-within", "120"});
  client.read_bytes(100);
  ::kill(process, SIGKILL);
  const Outcome outcome = client.wait();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("waiting up to 120 s")) << "it was killed too late";
  EXPECT_EQ(outcome.out, output_of(sampled));
}

class DrainTest : public JobTest, public ::testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(Ranks, DrainTest, ::testing::Values(0, 2));

TEST_P(DrainTest, StreamsFinishNewCallsAreRefusedAndItEndsWell) {
  constexpr int64_t kTokens = 1200;
  ServeJob job({.num_ranks = GetParam()});
  Streams streams(job.client());
  begin_streams(streams, 8, kTokens);
  job.run().send(SIGTERM);
  Streams late(job.client());
  ASSERT_TRUE(comes_true([&] {  // one that is faster than the signal is answered
    const Heard& heard = late.begin(greedy_call("In the beginning", 1));
    return late.listen_to_the_end() && !heard.end->ok();
  }));
  const RpcStatus refusal = *late[late.size() - 1].end;
  EXPECT_EQ(refusal.code, RpcCode::kUnavailable);
  EXPECT_THAT(refusal.status.message(), HasSubstr("draining"));
  ASSERT_TRUE(streams.listen_to_the_end());
  for (size_t i = 0; i < streams.size(); ++i) {
    EXPECT_TRUE(streams[i].end->ok()) << streams[i].end->status.message();
    EXPECT_EQ(streams[i].finish, FinishReason::kLength);
    EXPECT_THAT(streams[i].token_ids, SizeIs(kTokens));
  }
  EXPECT_EQ(job.run().wait().exit_code, 0);
}

TEST_P(DrainTest, WhatIsNotFinishedAtTheLimitCanBeResumed) {
  ServeJob job({.num_ranks = GetParam(), .flags = {"--drain-limit", "0.5"}});
  Streams streams(job.client());
  begin_streams(streams, 2, kEndless);
  job.run().send(SIGTERM);
  ASSERT_TRUE(streams.listen_to_the_end());
  for (size_t i = 0; i < streams.size(); ++i) {
    const RpcStatus& end = *streams[i].end;
    EXPECT_EQ(end.code, RpcCode::kDeadlineExceeded) << end.status.message();
    EXPECT_THAT(end.status.message(), HasSubstr("resume.token_ids"));
    EXPECT_TRUE(end.has_advice);
    EXPECT_FALSE(streams[i].token_ids.empty());
  }
  EXPECT_EQ(job.run().wait().exit_code, 0);
}

// The client goes on with the next service at the address, as after a service that broke down.
TEST_F(ServeFaultTest, AnOutputThatADrainCutOffGoesOnWithTheSameBytes) {
  ServeJob job({.flags = {"--drain-limit", "0.2"}});
  const std::vector<std::string> sampled = {"generate", "In the beginning", "--temperature", "1",   "--seed",
                                            "5",        "--ignore-eos",     "--max-tokens",  "3000"};
  RunningOctet client(sampled + std::vector<std::string>{"--server", job.address(), "--resume-within", "120"});
  client.read_bytes(100);
  job.run().send(SIGTERM);
  EXPECT_EQ(job.run().wait().exit_code, 0);
  client.await_error("waiting up to 120 s");
  RunningOctet next({"serve", "--listen", job.address(), "--metrics-listen", "", "--max-context", "4096"});
  const Outcome outcome = client.wait();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, output_of(sampled));
}

void expect_second_signal_to_end_it(int num_ranks, double slack) {
  ServeJob job({.num_ranks = num_ranks});
  Streams streams(job.client());
  begin_streams(streams, 2, kEndless);
  job.run().send(SIGTERM);
  job.await("draining: ");
  const auto start = Clock::now();
  job.run().send(SIGTERM);
  expect_unavailable_soon(streams, start, slack);
  EXPECT_EQ(expect_end_soon(job, start, slack).exit_code, 130);
}

TEST_P(DrainTest, ASecondSignalEndsItAtOnce) { expect_second_signal_to_end_it(GetParam(), kSlack); }
TEST_P(DrainTest, LongASecondSignalEndsItAtOnce) { expect_second_signal_to_end_it(GetParam(), 1); }

}  // namespace
}  // namespace octet::testing
