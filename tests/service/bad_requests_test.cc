// Requests that are wrong: each gets the error named, quickly, and harms no neighbour.
#include <cmath>
#include <functional>
#include <future>
#include <limits>

#include "tests/service/test_server.h"

namespace octet::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A good request with one thing wrong, and what the error must say.
struct BadRequest {
  const char* name;
  std::function<void(v1::GenerateRequest&)> spoil;
  const char* field;
  std::vector<std::string> parts;  // of the message: value and bound
};

v1::SamplingParams& sampling(v1::GenerateRequest& request) { return *request.mutable_sampling(); }
v1::Stopping& stopping(v1::GenerateRequest& request) { return *request.mutable_stop(); }

void add_message(v1::GenerateRequest& request, const std::string& role, const std::string& content) {
  v1::ChatMessage& message = *request.mutable_chat()->add_messages();
  message.set_role(role);
  message.set_content(content);
}

std::vector<BadRequest> bad_prompts() {
  return {
      {"NoInput", [](auto& r) { r.clear_input(); }, "text", {"no input"}},
      {"EmptyText", [](auto& r) { r.set_text(""); }, "text", {"empty"}},
      {"NotUtf8", [](auto& r) { r.set_text("ab\xff\xfe"); }, "text", {"not UTF-8"}},
      {"LongText", [](auto& r) { r.set_text(std::string(600'000, 'a')); }, "text", {"600000", "524288"}},
      {"NoTokens", [](auto& r) { r.mutable_tokens(); }, "tokens", {"no tokens"}},
      {"NegativeToken", [](auto& r) { r.mutable_tokens()->add_ids(-1); }, "tokens", {"-1", "4096"}},
      {"TokenOfNoVocabulary", [](auto& r) { r.mutable_tokens()->add_ids(4096); }, "tokens", {"4096"}},
      {"LongerThanTheContext",
       [](auto& r) { *r.mutable_tokens() = token_request(5000, 1).tokens(); },
       "tokens",
       {"5000", "4096"}},
      {"PromptAndOutputOverTheContext",
       [](auto& r) { *r.mutable_tokens() = token_request(4000, 1).tokens(), stopping(r).set_max_new_tokens(100); },
       "tokens",
       {"4000", "100", "4096"}},
      {"EmptyConversation", [](auto& r) { r.mutable_chat(); }, "chat", {"no messages"}},
      {"UnknownRole", [](auto& r) { add_message(r, "wizard", "hello"); }, "chat", {"wizard", "user"}},
      {"LastMessageNotTheUsers",
       [](auto& r) { add_message(r, "user", "a"), add_message(r, "assistant", "b"); },
       "chat",
       {"last message"}},
      {"ContentNotUtf8", [](auto& r) { add_message(r, "user", "\xc3("); }, "chat", {"not UTF-8"}},
      {"BosOfAChat", [](auto& r) { add_message(r, "user", "a"), r.set_add_bos(true); }, "add_bos", {"chat"}},
      {"LongRequestId", [](auto& r) { r.set_request_id(std::string(129, 'x')); }, "request_id", {"129", "128"}},
      {"Priority", [](auto& r) { r.set_priority(101); }, "priority", {"101", "100"}},
  };
}

std::vector<BadRequest> bad_sampling() {
  std::vector<BadRequest> cases = {
      {"NoSamples", [](auto& r) { sampling(r).set_n(0); }, "sampling.n", {"0", "64"}},
      {"AMillionSamples", [](auto& r) { sampling(r).set_n(1'000'000); }, "sampling.n", {"1000000", "64"}},
      {"NegativeTopK", [](auto& r) { sampling(r).set_top_k(-5); }, "sampling.top_k", {"-5", "0"}},
      {"BiasOutOfVocabulary",
       [](auto& r) { (*sampling(r).mutable_logit_bias())[4096] = 1; },
       "sampling.logit_bias",
       {"4096"}},
      {"BiasNaN",
       [](auto& r) { (*sampling(r).mutable_logit_bias())[5] = kNaN; },
       "sampling.logit_bias",
       {"nan", "100"}},
      {"ManyBiases",
       [](auto& r) {
         for (int i = 0; i < 2000; ++i) (*sampling(r).mutable_logit_bias())[i] = 1;
       },
       "sampling.logit_bias",
       {"2000", "1024"}},
      {"Logprobs", [](auto& r) { r.mutable_response()->set_logprobs(21); }, "response.logprobs", {"21", "20"}},
      {"PromptLogprobs",
       [](auto& r) { r.mutable_response()->set_prompt_logprobs(21); },
       "response.prompt_logprobs",
       {"21", "20"}},
  };
  struct Range {
    const char* name;
    void (v1::SamplingParams::*set)(float);
    const char* field;
    std::vector<float> wrong;
    const char* bound;
  };
  const std::vector<Range> ranges = {
      {"Temperature", &v1::SamplingParams::set_temperature, "sampling.temperature", {kNaN, kInfinity, -1, 2.5F}, "2]"},
      {"TopP", &v1::SamplingParams::set_top_p, "sampling.top_p", {0, 1.1F, kNaN}, "(0, 1]"},
      {"MinP", &v1::SamplingParams::set_min_p, "sampling.min_p", {-0.1F, 1.5F, kNaN}, "[0, 1]"},
      {"Repetition", &v1::SamplingParams::set_repetition_penalty, "sampling.repetition_penalty", {0, 11, kNaN}, "10]"},
      {"Frequency", &v1::SamplingParams::set_frequency_penalty, "sampling.frequency_penalty", {-3, 3, kNaN}, "[-2, 2]"},
      {"Presence", &v1::SamplingParams::set_presence_penalty, "sampling.presence_penalty", {-3, 3, kNaN}, "[-2, 2]"},
  };
  for (const Range& range : ranges) {
    for (const float value : range.wrong) {
      cases.push_back({range.name,
                       [range, value](auto& r) { (sampling(r).*range.set)(value); },
                       range.field,
                       {fmt::format("{}", value), range.bound}});
    }
  }
  return cases;
}

std::vector<BadRequest> bad_stopping() {
  return {
      {"NoOutput", [](auto& r) { stopping(r).set_max_new_tokens(0); }, "stop.max_new_tokens", {"0"}},
      {"MinOverMax", [](auto& r) { stopping(r).set_min_new_tokens(9); }, "stop.min_new_tokens", {"9", "8"}},
      {"EmptyStop", [](auto& r) { stopping(r).add_stop(""); }, "stop.stop", {"empty"}},
      {"StopNotUtf8", [](auto& r) { stopping(r).add_stop("\x80"); }, "stop.stop", {"not UTF-8"}},
      {"LongStop", [](auto& r) { stopping(r).add_stop(std::string(1 << 20, 'x')); }, "stop.stop", {"1048576", "1024"}},
      {"ManyStops",
       [](auto& r) {
         for (int i = 0; i < 10'000; ++i) stopping(r).add_stop("x");
       },
       "stop.stop",
       {"10000", "16"}},
      {"ManyStopTokens",
       [](auto& r) {
         for (int i = 0; i < 17; ++i) stopping(r).add_stop_token_ids(i);
       },
       "stop.stop_token_ids",
       {"17", "16"}},
      {"StopTokenOfNoVocabulary",
       [](auto& r) { stopping(r).add_stop_token_ids(-7); },
       "stop.stop_token_ids",
       {"-7", "4096"}},
      {"ResumeOfTwo",
       [](auto& r) { r.mutable_resume()->add_token_ids(5), sampling(r).set_n(2); },
       "sampling.n",
       {"2", "alone"}},
      {"ResumeWithoutSeed",
       [](auto& r) { r.mutable_resume()->add_token_ids(5), sampling(r).set_temperature(1); },
       "sampling.seed",
       {"not set"}},
      {"ResumeOfEverything",
       [](auto& r) {
         for (int i = 0; i < 8; ++i) r.mutable_resume()->add_token_ids(5);
       },
       "resume.token_ids",
       {"8", "7"}},
      {"ResumeOfNoVocabulary",
       [](auto& r) { r.mutable_resume()->add_token_ids(5000); },
       "resume.token_ids",
       {"5000", "4096"}},
      {"ResumeAfterTheEnd",
       [](auto& r) { r.mutable_resume()->add_token_ids(2), stopping(r).set_ignore_eos(false); },
       "resume.token_ids",
       {"2", "ended"}},
      {"SampleIndex", [](auto& r) { r.mutable_resume()->set_sample_index(64); }, "resume.sample_index", {"64", "63"}},
  };
}

// One server for all: what one bad request leaves behind, the next ones would meet.
class BadRequests : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { server_ = std::make_unique<TestServer>(); }
  static void TearDownTestSuite() { server_.reset(); }

  static void expect_refused(const BadRequest& bad) {
    SCOPED_TRACE(bad.name);
    const auto stub = server_->stub();
    v1::GenerateRequest request = text_request("In the beginning", 8);
    bad.spoil(request);
    for (const Reply& reply : {stream(*stub, request), generate(*stub, request)}) {
      EXPECT_EQ(reply.status.error_code(), GrpcCode::INVALID_ARGUMENT) << reply.status.error_message();
      EXPECT_THAT(reply.status.error_message(), HasSubstr(bad.field));
      for (const std::string& part : bad.parts) EXPECT_THAT(reply.status.error_message(), HasSubstr(part));
      EXPECT_EQ(bad_field_of(reply.status), bad.field);
      EXPECT_EQ(reply.num_chunks, 0);
      EXPECT_LT(reply.seconds, 5);
    }
  }

  static std::unique_ptr<TestServer> server_;
};

std::unique_ptr<TestServer> BadRequests::server_;

TEST_F(BadRequests, NameTheirFieldItsValueAndItsBound) {
  const auto stub = server_->stub();
  const v1::GenerateRequest neighbour = text_request("Once upon a time", 64);
  const std::string alone = stream(*stub, neighbour).text();
  std::vector<BadRequest> all;
  for (const auto& cases : {bad_prompts(), bad_sampling(), bad_stopping()})
    all.insert(all.end(), cases.begin(), cases.end());
  std::future<Reply> beside;
  for (const BadRequest& bad : all) {
    if (!beside.valid()) beside = std::async(std::launch::async, [&] { return stream(*server_->stub(), neighbour); });
    expect_refused(bad);
    if (beside.wait_for(std::chrono::seconds(0)) == std::future_status::ready) {
      EXPECT_EQ(beside.get().text(), alone);
    }
  }
  if (beside.valid()) {
    EXPECT_EQ(beside.get().text(), alone);
  }
  EXPECT_EQ(server_->await_idle(), 0);
}

TEST_F(BadRequests, ControlTokensInTextAreText) {
  const auto stub = server_->stub();
  for (const bool chat : {false, true}) {
    grpc::ClientContext context;
    v1::TokenizeRequest request;
    const std::string text = "</s> [INST] <s> <unk>";
    if (chat) {
      v1::ChatMessage& message = *request.mutable_chat()->add_messages();
      message.set_role("user");
      message.set_content(text);
    } else {
      request.set_text(text);
    }
    v1::TokenizeResponse response;
    ASSERT_TRUE(stub->Tokenize(&context, request, &response).ok());
    const auto& ids = response.ids();
    EXPECT_EQ(ids[0], 1);
    // BOS stands once, in front, and EOS nowhere: an open conversation has none.
    EXPECT_EQ(std::count(ids.begin(), ids.end(), 1), 1);
    EXPECT_EQ(std::count(ids.begin(), ids.end(), 2), 0);
  }
}

TEST_F(BadRequests, NulIsOrdinaryText) {
  const auto stub = server_->stub();
  v1::GenerateRequest request = text_request(std::string("a\0b", 3), 4);
  request.mutable_response()->set_echo(true);
  const Reply reply = stream(*stub, request);
  ASSERT_TRUE(reply.status.ok()) << reply.status.error_message();
  EXPECT_EQ(reply.text().substr(0, 3), std::string("a\0b", 3));
}

TEST_F(BadRequests, UnknownModelIsNotFound) {
  const auto stub = server_->stub();
  v1::GenerateRequest request = text_request("a", 4);
  request.set_model("gpt-5");
  const Reply reply = stream(*stub, request);
  EXPECT_EQ(reply.status.error_code(), GrpcCode::NOT_FOUND);
  EXPECT_THAT(reply.status.error_message(), AllOf(HasSubstr("gpt-5"), HasSubstr("octet-demo")));
  request.set_model("octet-demo");
  EXPECT_TRUE(stream(*stub, request).status.ok());
}

TEST_F(BadRequests, AMessageOverTheLimitIsRefused) {
  const auto stub = server_->stub();
  const Reply reply = stream(*stub, text_request(std::string(5 << 20, 'a'), 4));
  EXPECT_EQ(reply.status.error_code(), GrpcCode::RESOURCE_EXHAUSTED) << reply.status.error_message();
  EXPECT_TRUE(stream(*stub, text_request("a", 4)).status.ok());
}

TEST_F(BadRequests, ALiveRequestIdIsTaken) {
  const auto stub = server_->stub();
  v1::GenerateRequest request = text_request("a", 4);
  request.set_request_id("mine");
  server_->runner().close();
  auto first = std::async(std::launch::async, [&] { return stream(*stub, request); });
  server_->runner().await_step();
  const Reply second = stream(*stub, request);
  EXPECT_EQ(second.status.error_code(), GrpcCode::ALREADY_EXISTS) << second.status.error_message();
  EXPECT_EQ(details_of(second.status).code(), GrpcCode::ALREADY_EXISTS);
  server_->runner().open();
  EXPECT_TRUE(first.get().status.ok());
  EXPECT_TRUE(stream(*stub, request).status.ok());  // it is free again
}

TEST_F(BadRequests, AbortEndsTheRequestAndOfAnUnknownOneDoesNothing) {
  const auto stub = server_->stub();
  v1::AbortRequest abort;
  v1::AbortResponse response;
  abort.set_request_id("nobody");
  grpc::ClientContext unknown;
  EXPECT_TRUE(stub->Abort(&unknown, abort, &response).ok());
  v1::GenerateRequest request = text_request("a", 100);
  request.set_request_id("mine");
  server_->runner().close();
  auto running = std::async(std::launch::async, [&] { return stream(*stub, request); });
  server_->runner().await_step();
  abort.set_request_id("mine");
  grpc::ClientContext known;
  EXPECT_TRUE(stub->Abort(&known, abort, &response).ok());
  EXPECT_EQ(running.get().status.error_code(), GrpcCode::CANCELLED);  // although no step has ended
  server_->runner().open();
  EXPECT_EQ(server_->await_idle(), 0);
}

TEST_F(BadRequests, APassedDeadlineIsNeverQueued) {
  const auto stub = server_->stub();
  server_->runner().close();
  const Reply reply = stream(*stub, text_request("a", 4), {.deadline = std::chrono::milliseconds(-1)});
  EXPECT_EQ(reply.status.error_code(), GrpcCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(server_->info().load().num_requests_waiting() + server_->info().load().num_requests_running(), 0);
  server_->runner().open();
}

// The byte cap of its own test: raised, and a single word of a megabyte is read in little time.
TEST(BadRequestLimits, AMegabyteOfOneWordIsReadQuickly) {
  TestServerOptions options;
  options.server.limits.max_prompt_bytes = 2 << 20;
  TestServer server(std::move(options));
  grpc::ChannelArguments any_size;
  any_size.SetMaxReceiveMessageSize(-1);
  const auto stub = v1::Generation::NewStub(server.connected(any_size));
  v1::TokenizeRequest request;
  request.set_text(std::string(1 << 20, 'a'));
  double quickest = 60;
  for (int i = 0; i < 5 && quickest >= 30; ++i) {  // promised is 1 s on a machine that does nothing else
    grpc::ClientContext context;
    v1::TokenizeResponse response;
    const auto begin = Clock::now();
    const grpc::Status status = stub->Tokenize(&context, request, &response);
    quickest = std::min(quickest, seconds_since(begin));
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_GT(response.ids_size(), 1000);
  }
  EXPECT_LT(quickest, 30);
  const Reply reply = stream(*stub, text_request(request.text(), 4));
  EXPECT_EQ(reply.status.error_code(), GrpcCode::INVALID_ARGUMENT);  // of so many tokens
  EXPECT_THAT(reply.status.error_message(), HasSubstr("context of 4096"));
}

// Bytes that are no message: the error is gRPC's own, and nothing breaks.
TEST_F(BadRequests, BytesThatAreNoMessageAreRefused) {
  const auto channel = server_->connect();
  for (const std::string& bytes : {std::string("\xff\xff\xff"), std::string("\x0a\x05\xff\xfe\xfd\xfc\xfb")}) {
    grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    const grpc::Status status = call_method(*channel, "/octet.v1.Generation/Generate", request, response);
    EXPECT_EQ(status.error_code(), GrpcCode::INTERNAL) << status.error_message();
  }
  EXPECT_TRUE(stream(*server_->stub(), text_request("a", 4)).status.ok());
}

TEST(Loading, CallsAreToldToComeBack) {
  TestServerOptions options;
  options.ready = false;
  TestServer server(std::move(options));
  const auto stub = server.stub();
  for (const Reply& reply : {stream(*stub, text_request("a", 4)), generate(*stub, text_request("a", 4))}) {
    EXPECT_EQ(reply.status.error_code(), GrpcCode::FAILED_PRECONDITION);
    EXPECT_GT(retry_seconds_of(reply.status).value_or(0), 0);
  }
  EXPECT_EQ(server.info().state(), v1::ServerInfo::STATE_LOADING);
  server.make_ready();
  EXPECT_EQ(server.info().state(), v1::ServerInfo::STATE_SERVING);
  EXPECT_TRUE(stream(*stub, text_request("a", 4)).status.ok());
}

}  // namespace
}  // namespace octet::testing
