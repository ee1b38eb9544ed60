// What clients see of a service whose ranks die, hang, start badly, come back and drain.
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <cstring>

#include "tests/service/serve_job.h"

namespace octet::testing {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

// The promises are 2 s and 5 s; machines that run tests are busy.
constexpr Seconds kRpcsEndWithin{2 * 5}, kJobEndsWithin{5 * 5};
constexpr int kNumRanks = 3;
constexpr int64_t kEndless = 4000;

class ServeFaultTest : public JobTest {};
class RankOfServiceTest : public JobTest, public ::testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(Rank, RankOfServiceTest, ::testing::Range(0, kNumRanks));

enum class Health { kNoAnswer, kServing, kNotServing };

// What grpc.health.v1 says of the service.
Health health_of(const std::string& address) {
  grpc::GenericStub stub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  const std::string name = "octet.v1.Generation";
  const grpc::Slice message(std::string("\x0a") + static_cast<char>(name.size()) + name);  // HealthCheckRequest.service
  const grpc::ByteBuffer request(&message, 1);
  grpc::CompletionQueue queue;
  const auto call = stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check", request, &queue);
  call->StartCall();
  grpc::ByteBuffer response;
  grpc::Status status;
  call->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  grpc::Slice answer;
  if (!status.ok() || !response.DumpToSingleSlice(&answer).ok() || answer.size() != 2) return Health::kNoAnswer;
  return answer.begin()[1] == 1 ? Health::kServing : Health::kNotServing;  // HealthCheckResponse.status
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

void expect_unavailable_soon(Streams& streams, Clock::time_point since) {
  ASSERT_TRUE(streams.listen_to_the_end());
  for (size_t i = 0; i < streams.size(); ++i) {
    EXPECT_EQ(streams[i].end->code, RpcCode::kUnavailable) << streams[i].end->status.message();
    EXPECT_LT(streams[i].ended_at - since, kRpcsEndWithin);
  }
}

TEST_P(RankOfServiceTest, KilledEndsEveryStreamWithUnavailable) {
  ServeJob job({.num_ranks = kNumRanks});
  Streams streams(job.client());
  begin_streams(streams, 8, kEndless);
  const pid_t process = process_of_rank(job.run(), GetParam());
  ASSERT_GT(process, 0);
  ::kill(process, SIGKILL);
  const auto start = Clock::now();
  expect_unavailable_soon(streams, start);
  const Outcome outcome = job.run().wait();
  EXPECT_LT(Clock::now() - start, kJobEndsWithin);
  EXPECT_EQ(outcome.exit_code, 3);
  ASSERT_THAT(job_lines(outcome), SizeIs(1)) << outcome.err;
  EXPECT_THAT(job_lines(outcome)[0],
              AllOf(HasSubstr("rank " + std::to_string(GetParam()) + " (host "), HasSubstr("killed by signal 9")));
}

TEST_P(RankOfServiceTest, HungBeyondTheLimitEndsEveryStreamAndIsNamed) {
  ServeJob job({.num_ranks = kNumRanks, .flags = {"--heartbeat-limit", "2"}});
  Streams streams(job.client());
  begin_streams(streams, 8, kEndless);
  const pid_t process = process_of_rank(job.run(), GetParam());
  ASSERT_GT(process, 0);
  std::this_thread::sleep_for(Seconds(1));  // for a heartbeat to tell where it is
  ::kill(process, SIGSTOP);
  const auto start = Clock::now();
  expect_unavailable_soon(streams, start + std::chrono::seconds(2));
  const Outcome outcome = job.run().wait();
  EXPECT_EQ(outcome.exit_code, 3);
  ASSERT_THAT(job_lines(outcome), SizeIs(1)) << outcome.err;
  EXPECT_THAT(job_lines(outcome)[0],
              AllOf(HasSubstr("rank " + std::to_string(GetParam()) + " (host "), HasSubstr("silent for 2"),
                    ContainsRegex("last seen in (layer [0-9]+, |plan|logits)"), ContainsRegex("in [a-z_]+ number")));
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
TEST_F(ServeFaultTest, AStartThatFailsOnOneRankFailsWhole) {
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
  EXPECT_LT(Clock::now() - start, Seconds(20 * 5));
  EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
  EXPECT_THAT(outcome.err, AllOf(Not(HasSubstr("ready: ")), Not(HasSubstr("restart 1")), Not(HasSubstr("-----"))));
  std::vector<std::string> lines;
  for (const std::string& line : lines_of(outcome.err)) {
    if (line.find("layer 3, expert 7 w1 is NaN") != std::string::npos) lines.push_back(line);
  }
  ASSERT_THAT(lines, SizeIs(1)) << outcome.err;
  EXPECT_THAT(lines[0], HasSubstr(model));
}

TEST_F(ServeFaultTest, ReadyOnlyWhileItCanServe) {
  ServeJob job({.num_ranks = 2, .flags = {"--heartbeat-limit", "20"}, .wait_until_ready = false});
  // A rank that sleeps keeps the model from being loaded.
  ASSERT_TRUE(comes_true([&] { return process_of_rank(job.run(), 1) > 0; }));
  const pid_t process = process_of_rank(job.run(), 1);
  job.await("listening on ");
  ::kill(process, SIGSTOP);
  if (health_of(job.address()) != Health::kServing) {  // it may have been faster than we are
    Streams early(job.client());
    const Heard& refused = early.begin(greedy_call("In the beginning", 2));
    ASSERT_TRUE(early.listen_to_the_end());
    EXPECT_EQ(refused.end->code, RpcCode::kFailedPrecondition) << refused.end->status.message();
  }
  ::kill(process, SIGCONT);
  ASSERT_TRUE(comes_true([&] { return health_of(job.address()) == Health::kServing; }));
  Streams streams(job.client());
  const Heard& heard = streams.begin(greedy_call("In the beginning", 2));
  ASSERT_TRUE(streams.listen_to_the_end());
  EXPECT_TRUE(heard.end->ok()) << heard.end->status.message();
  ::kill(process, SIGSTOP);
  EXPECT_TRUE(comes_true([&] { return health_of(job.address()) == Health::kNotServing; }));
  ::kill(process, SIGCONT);
  EXPECT_TRUE(comes_true([&] { return health_of(job.address()) == Health::kServing; }));
}

TEST_F(ServeFaultTest, ARestartedServiceGoesOnWithTheSameBytes) {
  ServeJob job({.num_ranks = 2, .run_flags = {"--restart", "1"}});
  const std::vector<std::string> sampled = {"generate", "In the beginning", "--temperature", "1",   "--seed",
                                            "5",        "--ignore-eos",     "--max-tokens",  "1500"};
  RunningOctet client(sampled + std::vector<std::string>{"--server", job.address(), "--resume-within", "120"});
  client.read_bytes(100);
  const pid_t process = process_of_rank(job.run(), 1);
  ASSERT_GT(process, 0);
  ::kill(process, SIGKILL);
  const Outcome outcome = client.wait();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("waiting up to 120 s")) << "it was killed too late";
  EXPECT_EQ(outcome.out, output_of(sampled));
}

class DrainTest : public JobTest, public ::testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(Ranks, DrainTest, ::testing::Values(0, 2));

TEST_P(DrainTest, StreamsFinishNewCallsAreRefusedAndItEndsWell) {
  constexpr int64_t kTokens = 800;
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

TEST_P(DrainTest, ASecondSignalEndsItAtOnce) {
  ServeJob job({.num_ranks = GetParam()});
  Streams streams(job.client());
  begin_streams(streams, 2, kEndless);
  job.run().send(SIGTERM);
  job.await("draining: ");
  const auto start = Clock::now();
  job.run().send(SIGTERM);
  expect_unavailable_soon(streams, start);
  EXPECT_EQ(job.run().wait().exit_code, 130);
  EXPECT_LT(Clock::now() - start, kJobEndsWithin);
}

}  // namespace
}  // namespace octet::testing
