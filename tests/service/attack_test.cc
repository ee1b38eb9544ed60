// Clients that mean harm, against the real program: an honest one is served meanwhile, with the same bytes, and memory
// stays what it was.
#include <sys/resource.h>

#include <future>
#include <vector>

#include "runtime/service/self_check.h"
#include "tests/base/temp_folder.h"
#include "tests/service/raw_client.h"
#include "tests/service/serve_job.h"

namespace octet::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

constexpr const char* kGenerate = "/octet.v1.Generation/Generate";
constexpr const char* kWatch = "/grpc.health.v1.Health/Watch";
constexpr int64_t kMiB = 1 << 20;

// A line of /proc/PID/status, in bytes.
int64_t memory_of(pid_t process, const std::string& name) {
  std::ifstream file("/proc/" + std::to_string(process) + "/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name + ":")) return std::stoll(line.substr(name.size() + 1)) << 10;
  }
  return 0;
}

class Attack : public ::testing::Test {
 protected:
  // `flags` of serve.
  void serve(const std::vector<std::string>& flags = {}) {
    job_ = std::make_unique<ServeJob>(ServeLaunch{.flags = std::vector<std::string>{"--kv-cache", "16M"} + flags});
    expected_ = answer();
    ASSERT_FALSE(expected_.empty());
    before_ = memory_of(job_->process(), "VmRSS");
  }
  void TearDown() override {
    if (job_ == nullptr) return;
    expect_honest();
    EXPECT_LT(memory_of(job_->process(), "VmHWM"), before_ + 150 * kMiB);
  }

  // With a connection of its own; empty: there was none.
  std::string answer() const {
    Streams streams(job_->client());
    const Heard& heard = streams.begin(greedy_call("The lighthouse", 5));
    const bool ended = streams.listen_to_the_end();
    EXPECT_TRUE(ended && heard.end && heard.end->ok()) << (heard.end ? heard.end->status.message() : "no end");
    return heard.text;
  }
  void expect_honest() const { EXPECT_EQ(answer(), expected_); }

  std::vector<RawClient> connect(int count, bool greet) const {
    std::vector<RawClient> clients;
    for (int i = 0; i < count; ++i) {
      clients.emplace_back(job_->address());
      if (greet) clients.back().greet();
    }
    return clients;
  }

  std::unique_ptr<ServeJob> job_;
  std::string expected_;
  int64_t before_ = 0;
};

// Not even a descriptor for one more, and then again.
TEST_F(Attack, DescriptorsThatRunOutComeBack) {
  serve();
  const pid_t process = job_->process();
  rlimit old{};
  ASSERT_EQ(::prlimit(process, RLIMIT_NOFILE, nullptr, &old), 0);
  const rlimit few{100, old.rlim_max};
  ASSERT_EQ(::prlimit(process, RLIMIT_NOFILE, &few, nullptr), 0);
  {
    auto silent = connect(200, false);
    auto turned_away = connect(1, true);
    EXPECT_TRUE(turned_away.front().is_ended_within(seconds(30)));
  }
  EXPECT_TRUE(comes_true([this] { return answer() == expected_; }));
}

TEST_F(Attack, SilentConnectionsGiveWay) {
  serve({"--max-connections", "40"});
  auto silent = connect(300, false);
  expect_honest();
  auto idle = connect(300, true);
  std::this_thread::sleep_for(milliseconds(1100));  // then they count as idle
  for (int i = 0; i < 3; ++i) expect_honest();
}

TEST_F(Attack, LongHalfOpenConnectionsAreClosed) {
  serve();
  auto silent = connect(2, false);
  ASSERT_TRUE(silent[1].send(kPreface.substr(0, 10)));
  for (RawClient& client : silent) EXPECT_TRUE(client.is_ended_within(seconds(60)));
}

TEST_F(Attack, CompressedAndHugeMessagesAreRefusedAtTheirFirstBytes) {
  serve();
  RawClient client(job_->address());
  ASSERT_TRUE(client.greet());
  EXPECT_TRUE(client.send_message(client.open(kGenerate), 1000, 1000, 1));
  EXPECT_THAT(client.read_until("compressed"), HasSubstr("compressed"));
  client.open(kGenerate, "", "gzip");
  EXPECT_THAT(client.read_until("grpc-encoding"), HasSubstr("grpc-encoding"));
  const uint32_t stream = client.open(kGenerate);
  EXPECT_TRUE(client.send_message(stream, 1'500'000'000, 1 << 20));
  EXPECT_THAT(client.read_until("1500000000 bytes"), HasSubstr("1500000000 bytes"));
  EXPECT_TRUE(client.send_message(stream, 1000, 20 << 20));  // that nobody waits for it harms nobody
}

TEST_F(Attack, UnfinishedMessagesAreBounded) {
  serve();
  auto clients = connect(10, true);
  for (RawClient& client : clients) {
    for (int i = 0; i < 10; ++i) {
      if (!client.send_message(client.open(kGenerate), (4 << 20) - 64, (4 << 20) - 100)) break;
    }
  }
  expect_honest();
}

TEST_F(Attack, RapidResetIsSlowedDown) {
  serve();
  std::vector<std::future<void>> floods;
  for (int i = 0; i < 2; ++i) {
    floods.push_back(std::async(std::launch::async, [this] {
      RawClient client(job_->address());
      client.greet();
      const auto end = Clock::now() + seconds(2);
      for (int k = 0; k < 20'000 && Clock::now() < end; ++k) {
        const uint32_t stream = client.open(kGenerate);
        if (!client.send_message(stream, 3, 3)) return;
        if (!client.send(make_rst_stream(stream, Http2Error::kCancel))) return;
      }
    }));
  }
  for (int i = 0; i < 3; ++i) expect_honest();
}

TEST_F(Attack, WatchesOfHealthAreBounded) {
  serve();
  auto clients = connect(20, true);
  for (RawClient& client : clients) {
    for (int i = 0; i < 100; ++i) client.send_message(client.open(kWatch), 0, 0);
  }
  EXPECT_THAT(clients.back().read_until("too many watches"), HasSubstr("too many watches"));
}

TEST_F(Attack, HeadersThatNeverEndAreEnded) {
  serve();
  RawClient client(job_->address());
  ASSERT_TRUE(client.greet());
  std::string block;
  append_field(block, ":path", kGenerate);
  ASSERT_TRUE(client.send(make_frame(FrameType::kHeaders, 0, 1, block)));
  std::string field;
  append_field(field, "x", std::string(8000, 'y'));
  for (int i = 0; i < 10'000 && client.send(make_frame(FrameType::kContinuation, 0, 1, field)); ++i) continue;
  EXPECT_THAT(client.read_until("too large"), HasSubstr("the headers are too large"));
  EXPECT_TRUE(client.is_ended_within(std::chrono::seconds(30)));
}

// The key is asked for before a body is waited for.
TEST_F(Attack, NoBodyIsReadOfWhoHasNoKey) {
  const TempFolder folder;
  write_file(folder / "key", "secret\n");
  std::filesystem::permissions(folder / "key", std::filesystem::perms::owner_read);
  ServeJob job({.flags = {"--kv-cache", "16M", "--api-key-file", (folder / "key").string()}});
  RawClient client(job.address());
  ASSERT_TRUE(client.greet());
  client.open(kGenerate);
  EXPECT_THAT(client.read_until("authorization"), HasSubstr("authorization"));
  RawClient other(job.address());
  ASSERT_TRUE(other.greet());
  other.open(kGenerate, "secret");
  EXPECT_EQ(other.read_until("authorization", milliseconds(500)).find("authorization"), std::string::npos);
}

TEST_F(Attack, UnixSocketsAreServed) {
  const TempFolder folder;
  const std::string address = "unix:" + (folder / "socket").string();
  RunningOctet run(
      {"serve", "--listen", address, "--metrics-listen", "", "--kv-cache", "16M", "--max-context", "4096"});
  run.await_error("ready: serving");
  auto client = ServiceClient::create({.server = address});
  ASSERT_TRUE(client.ok());
  Streams streams(*std::move(client));
  const Heard& heard = streams.begin(greedy_call("a", 3));
  EXPECT_TRUE(streams.listen_to_the_end());
  EXPECT_EQ(heard.token_ids.size(), 3);
}

// What an address wastes slows down that address: an honest one of another does not notice.
TEST_F(Attack, FloodsOfFramesHoldUpNobodyElse) {
  serve();
  const auto flood = std::async(std::launch::async, [this] {
    std::string frames;
    for (int i = 0; i < 200; ++i) frames += make_frame(FrameType::kSettings, 0, 0, "");
    for (int i = 0; i < 100; ++i) {
      RawClient client(job_->address(), "127.0.0.2");
      if (!client.greet() || !client.send(frames)) return;
      client.open(kGenerate, "", "gzip");
    }
  });
  for (int i = 0; i < 5; ++i) expect_honest();
}

// Only what carries prompts may be large: the rest gRPC parses itself, before anybody looks at it.
TEST_F(Attack, MethodsOfSmallMessagesTakeNoLargeOnes) {
  serve();
  RawClient client(job_->address());
  ASSERT_TRUE(client.greet());
  for (const char* path : {"/octet.v1.Generation/Abort", "/octet.v1.Generation/GetServerInfo",
                           "/octet.v1.Generation/GetModelInfo", kWatch}) {
    const uint32_t stream = client.open(path);
    EXPECT_TRUE(client.send_message(stream, static_cast<uint32_t>(5000 + stream), 10));
    const std::string why = fmt::format("{} bytes", 5000 + stream);
    EXPECT_THAT(client.read_until(why), HasSubstr(why)) << path;
  }
}

// A request of any size that is none is told so, and one that waits to be read ends with its client.
TEST_F(Attack, LargeMessagesThatAreNoneAreRefused) {
  serve();
  RawClient client(job_->address());
  ASSERT_TRUE(client.greet());
  for (const char* path : {kGenerate, "/octet.v1.Generation/GenerateStream", "/octet.v1.Generation/Tokenize",
                           "/octet.v1.Generation/Detokenize"}) {
    for (const uint32_t size : {100U, 1U << 20}) {
      RawClient one(job_->address());
      ASSERT_TRUE(one.greet());
      EXPECT_TRUE(one.send_message(one.open(path), size, size));  // of 'a': no field has such a type
      EXPECT_TRUE(one.send(make_frame(FrameType::kData, kEndStream, 1, "")));
      EXPECT_THAT(one.read_until("no message of this method"), HasSubstr("no message of this method")) << path << size;
    }
    const uint32_t given_up = client.open(path);
    EXPECT_TRUE(client.send_message(given_up, 1 << 20, 1 << 20));
    EXPECT_TRUE(client.send(make_rst_stream(given_up, Http2Error::kCancel)));
  }
}

// A hundred times as large once they are parsed.
TEST_F(Attack, BodiesOfManyEmptyMessagesAreReadOneAtATime) {
  serve();
  constexpr size_t kMessages = 1 << 19;
  constexpr int kCallers = 6;
  std::string chat;  // field 5, of field 1 again and again
  for (size_t i = 0; i < kMessages; ++i) chat += std::string_view("\x0a\x00", 2);
  ASSERT_EQ(chat.size(), 1 << 20);
  const std::string request = std::string("\x2a\x80\x80\x40", 4) + chat;
  std::string body(1, 0);
  for (const int shift : {24, 16, 8, 0}) body += static_cast<char>(request.size() >> shift);
  body += request;
  std::vector<std::future<std::string>> callers;
  for (int i = 0; i < kCallers; ++i) {
    callers.push_back(std::async(std::launch::async, [this, &body] {
      RawClient client(job_->address(), "127.0.0.2");
      const uint32_t stream = client.greet() ? client.open(kGenerate) : 0;
      for (size_t at = 0; at < body.size(); at += kMaxFrameBytes) {
        const uint8_t flags = at + kMaxFrameBytes >= body.size() ? kEndStream : 0;
        if (!client.send(make_frame(FrameType::kData, flags, stream, body.substr(at, kMaxFrameBytes)))) break;
        if (at == 0) client.read_until("", milliseconds(300));  // until the window is open for all of it
      }
      return client.read_until("grpc-message");
    }));
  }
  expect_honest();
  for (auto& caller : callers) EXPECT_THAT(caller.get(), HasSubstr("chat"));
}

// A port at which nobody accepts any more, although the system takes connections for it.
TEST(SelfCheckTest, TellsOfAPortThatNobodyLooksAfter) {
  const int silent = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ASSERT_EQ(::bind(silent, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(silent, 100), 0);
  ASSERT_EQ(::getsockname(silent, reinterpret_cast<sockaddr*>(&address), &size), 0);
  std::promise<Status> told;
  const SelfCheck check(*parse_server_address("127.0.0.1:" + std::to_string(ntohs(address.sin_port))),
                        [&told](const Status& status) { told.set_value(status); },
                        {.interval = milliseconds(10), .patience = milliseconds(30)});
  EXPECT_THAT(told.get_future().get().message(), HasSubstr("not to be reached"));
  ::close(silent);
}

TEST_F(Attack, TheServiceReachesItself) {
  serve();
  std::atomic<bool> told = false;
  const SelfCheck check(*parse_server_address(job_->address()), [&told](const Status&) { told = true; },
                        {.interval = milliseconds(10), .patience = seconds(30)});
  std::this_thread::sleep_for(milliseconds(500));
  EXPECT_FALSE(told);
}

}  // namespace
}  // namespace octet::testing
