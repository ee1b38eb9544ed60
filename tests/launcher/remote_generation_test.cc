// Outputs taken up again where a service went away: byte for byte those of an undisturbed one, wherever they were cut.
#include <atomic>
#include <functional>
#include <map>
#include <random>

#include "launcher/remote_generator.h"
#include "runtime/base/utf8.h"
#include "tests/launcher/run_job.h"
#include "tests/service/test_server.h"

namespace octet::testing {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

// Stands between clients and a server, and cuts streams: a chunk that has passed is read, what follows is lost.
class CuttingProxy final : public v1::Generation::Service {
 public:
  static constexpr int kNever = -1;

  explicit CuttingProxy(const TestServer& server) : stub_(server.stub()) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    proxy_ = builder.BuildAndStart();
    OCTET_CHECK(proxy_ != nullptr);
    address_ = "127.0.0.1:" + std::to_string(port);
  }
  ~CuttingProxy() override { proxy_->Shutdown(); }

  // How many chunks of each stream that comes may pass, asked by one stream after the other.
  void cut_after(std::function<int()> num_chunks) { num_chunks_ = std::move(num_chunks); }
  const std::string& address() const { return address_; }
  int num_cuts() const { return num_cuts_; }
  int num_calls() const { return num_calls_; }

  grpc::Status GetModelInfo(grpc::ServerContext*, const v1::GetModelInfoRequest* request,
                            v1::ModelInfo* response) override {
    ++num_calls_;
    grpc::ClientContext context;
    return stub_->GetModelInfo(&context, *request, response);
  }
  grpc::Status GenerateStream(grpc::ServerContext*, const v1::GenerateRequest* request,
                              grpc::ServerWriter<v1::GenerateChunk>* writer) override {
    ++num_calls_;
    grpc::ClientContext context;
    const auto reader = stub_->GenerateStream(&context, *request);
    v1::GenerateChunk chunk;
    for (int left = num_chunks_(); left != 0 && reader->Read(&chunk); --left) {
      writer->Write(chunk);
      if (left != 1) continue;
      ++num_cuts_;
      context.TryCancel();
      while (reader->Read(&chunk)) continue;
      reader->Finish();
      return {grpc::StatusCode::UNAVAILABLE, "cut"};
    }
    return reader->Finish();
  }

 private:
  std::unique_ptr<v1::Generation::Stub> stub_;
  std::unique_ptr<grpc::Server> proxy_;
  std::string address_;
  std::function<int()> num_chunks_ = [] { return kNever; };
  std::atomic<int> num_cuts_ = 0, num_calls_ = 0;
};

ClientCall call_of(PromptSource input, int64_t max_tokens, uint64_t seed) {
  ClientCall call{.input = std::move(input)};
  call.params.sampling.seed = seed;
  call.params.sampling.temperature = 1.3;
  call.params.max_tokens = max_tokens;
  call.params.ignore_eos = true;
  return call;
}

// Characters of several bytes, whole and broken: the byte tokens of a few of them are likelier than anything else.
ClientCall byte_call(uint64_t seed) {
  ClientCall call = call_of("Ein Übergang — naïve", 40, seed);
  for (const int byte : {0xc3, 0xa9, 0xe2, 0x80, 0x94, 0xf0, 0x9f, 0x98, 0x80, 0x61}) {
    call.params.sampling.logit_bias[3 + byte] = 12;  // byte tokens stand behind the three control tokens
  }
  return call;
}

// The stream of a call, chunk by chunk.
std::vector<ReceivedChunk> chunks_of(ServiceClient& client, const ClientCall& call) {
  std::vector<ReceivedChunk> chunks;
  std::optional<RpcStatus> end;
  const auto id = client.generate(call, {.on_chunk = [&](const ReceivedChunk& chunk) { chunks.push_back(chunk); },
                                         .on_end = [&](const RpcStatus& status) { end = status; }});
  OCTET_CHECK(id.ok(), "{}", id.status().message());
  while (!end) client.poll(milliseconds(50));
  EXPECT_TRUE(end->ok()) << end->status.message();
  return chunks;
}

std::string text_of(const std::vector<ReceivedChunk>& chunks) {
  std::string text;
  for (const ReceivedChunk& chunk : chunks) text += chunk.text;
  return text;
}

// Stop strings that the text almost meets hold it back at many places; one in its later part is met.
void add_stops(const std::string& text, std::mt19937& random, ClientCall& call) {
  for (int i = 0; i < 6; ++i) {
    const std::string decoy = text.substr(random() % text.size(), 2 + random() % 8) + "\x01";
    if (is_valid_utf8(decoy)) call.params.stop.push_back(decoy);
  }
  for (size_t begin = text.size() * 2 / 3; begin + 4 < text.size(); ++begin) {
    const std::string stop = text.substr(begin, 4);
    if (!is_valid_utf8(stop) || text.find(stop) != begin) continue;
    call.params.stop.push_back(stop);
    return;
  }
}

class ResumeTest : public ::testing::Test {
 protected:
  ResumeTest() {
    auto client = ServiceClient::create({.server = server_.server().address()});
    OCTET_CHECK(client.ok());
    client_ = *std::move(client);
  }

  // Resumes behind every chunk.
  void expect_every_cut_is_healed(const ClientCall& call) {
    server_.runner().slow_down(milliseconds(1));  // a chunk for each token, hardly joined
    const std::vector<ReceivedChunk> whole = chunks_of(*client_, call);
    server_.runner().slow_down(milliseconds(0));
    std::string delivered;
    ClientCall rest = call;
    rest.resume = ResumePoint{};
    for (size_t i = 0; i + 1 < whole.size(); ++i) {
      delivered += whole[i].text;
      rest.resume->token_ids.insert(rest.resume->token_ids.end(), whole[i].token_ids.begin(), whole[i].token_ids.end());
      const std::vector<ReceivedChunk> resumed = chunks_of(*client_, rest);
      EXPECT_EQ(delivered + text_of(resumed), text_of(whole)) << "behind chunk " << i;
      EXPECT_EQ(resumed.back().finish, whole.back().finish);
      EXPECT_EQ(resumed.back().stop_text, whole.back().stop_text);
    }
  }

  TestServer server_;
  std::unique_ptr<ServiceClient> client_;
};

TEST_F(ResumeTest, BehindAnyChunkTheTextGoesOn) {
  std::mt19937 random(5);
  for (uint64_t seed = 1; seed <= 2; ++seed) {
    for (ClientCall call : {call_of("In the beginning", 40, seed), byte_call(seed)}) {
      expect_every_cut_is_healed(call);
      add_stops(text_of(chunks_of(*client_, call)), random, call);
      ASSERT_GE(call.params.stop.size(), 2U);
      expect_every_cut_is_healed(call);
      EXPECT_EQ(chunks_of(*client_, call).back().finish, FinishReason::kStop);
    }
  }
}

void expect_same_outputs(RemoteGenerator& generator, const PreparedPrompt& prompt, const GenerationParams& params,
                         const GenerationResult& whole) {
  GenerationResult cut;
  std::map<int64_t, std::string> told;
  const GenerationHooks hooks{.on_text = [&](int64_t index, const std::string& text) { told[index] += text; },
                              .should_stop = [] { return false; }};
  const Status status = generator.generate(prompt, params, hooks, cut);
  ASSERT_TRUE(status.ok()) << status.message();
  ASSERT_EQ(cut.outputs.size(), whole.outputs.size());
  for (size_t i = 0; i < whole.outputs.size(); ++i) {
    EXPECT_EQ(cut.outputs[i].text, whole.outputs[i].text);
    EXPECT_EQ(cut.outputs[i].token_ids, whole.outputs[i].token_ids);
    EXPECT_EQ(cut.outputs[i].finish_reason, whole.outputs[i].finish_reason);
    EXPECT_EQ(cut.outputs[i].stop_text, whole.outputs[i].stop_text);
    EXPECT_EQ(told[static_cast<int64_t>(i)], whole.outputs[i].text);
  }
}

// The client of octet generate and chat, cut again and again within one output.
TEST_F(ResumeTest, AClientThatIsCutAgainAndAgainHasTheSameOutputs) {
  server_.runner().slow_down(milliseconds(1));
  CuttingProxy proxy(server_);
  auto generator = RemoteGenerator::connect({.client = {.server = proxy.address()}, .resume_within = 60}, "", false);
  ASSERT_TRUE(generator.ok()) << generator.status().message();
  std::mt19937 random(9);
  std::vector<ClientCall> calls = {byte_call(3), call_of("In the beginning", 30, 4),
                                   call_of(std::vector<ChatMessage>{{"user", "Where is the sea?"}}, 30, 5)};
  calls[1].params.num_samples = 2;
  for (ClientCall& call : calls) {
    add_stops(text_of(chunks_of(*client_, call)), random, call);
    GenerationResult whole;
    const GenerationHooks quiet{.on_text = [](int64_t, const std::string&) {}, .should_stop = [] { return false; }};
    proxy.cut_after([] { return CuttingProxy::kNever; });
    const PreparedPrompt prompt{.content = call.input};  // the proxy counts no tokens
    ASSERT_TRUE((*generator)->generate(prompt, call.params, quiet, whole).ok());
    proxy.cut_after([&random] { return 1 + static_cast<int>(random() % 12); });
    int most_cuts = 0;
    for (int i = 0; i < 20 && most_cuts < 2; ++i) {  // on a busy machine few chunks bring it all
      const int num_cuts = proxy.num_cuts();
      expect_same_outputs(**generator, prompt, call.params, whole);
      most_cuts = std::max(most_cuts, proxy.num_cuts() - num_cuts);
    }
    EXPECT_GE(most_cuts, 2);
  }
}

class RanksAskTest : public JobTest {};

// Every rank would ask for an answer of its own.
TEST_F(RanksAskTest, TheRanksOfAJobAskNoServer) {
  const TestServer server;
  const CuttingProxy proxy(server);
  const std::vector<std::string> command = {"generate", "x", "--server", proxy.address()};
  const Launch by_hand{.environment = {{"OMPI_ALLOW_RUN_AS_ROOT", "1"}, {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"}},
                       .wrapper = {"mpirun", "-n", "2", "--oversubscribe"}};
  const std::vector<Outcome> outcomes = {run_octet(command, by_hand), run_octet(on_ranks(2, command))};
  for (const Outcome& outcome : outcomes) {
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_EQ(outcome.out, "");
    EXPECT_THAT(outcome.err, HasSubstr("--server: asked by a process alone, not by every rank of a job"));
  }
  EXPECT_EQ(proxy.num_calls(), 0);
}

}  // namespace
}  // namespace octet::testing
