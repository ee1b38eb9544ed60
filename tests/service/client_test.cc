// octet generate --server, octet chat --server and the Python example: what a service answers is what a model in the
// process answers.
#include "tests/service/secret.h"
#include "tests/service/serve_job.h"

namespace octet::testing {
namespace {

using nlohmann::json;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// One service for all tests that leave it as it was.
class ClientTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { job_ = std::make_unique<ServeJob>(); }
  static void TearDownTestSuite() { job_.reset(); }

  static std::vector<std::string> remote(const std::vector<std::string>& command) {
    return command + std::vector<std::string>{"--server", job_->address()};
  }

  // Runs the Python example instead of octet.
  static Outcome run_python(const std::vector<std::string>& arguments) {
    const std::string script = kSourceDir / "configs/clients/generate.py";
    return run_octet(arguments, {.wrapper = {"/bin/sh", "-c", "shift; exec " + script + " \"$@\"", "sh"}});
  }

  static inline std::unique_ptr<ServeJob> job_;
};

std::vector<std::string> generate(const std::vector<std::string>& more) {
  return std::vector<std::string>{"generate", "--max-tokens", "30", "--seed", "7"} + more;
}

// What does not depend on the clock; loading is nobody's time here.
json without_timings(json object) {
  for (const char* key : {"time_to_first_token_s", "prefill_tokens_per_s", "decode_tokens_per_s"}) {
    EXPECT_GE(object["timings"][key], 0) << key;
  }
  object.erase("timings");
  return object;
}

TEST_F(ClientTest, TextIsThatOfALocalModel) {
  const TempFolder folder;
  write_file(folder / "ids.json", "[1, 77, 300, 512]");
  write_file(folder / "text.txt", "static int sqlite3");
  const std::string chat = R"([{"role": "system", "content": "Be kind"}, {"role": "user", "content": "Hello"}])";
  write_file(folder / "chat.json", chat);
  const std::vector<std::vector<std::string>> cases = {
      {"In the beginning", "--temperature", "0"},
      {"In the beginning", "--temperature", "0.7", "--top-p", "0.9", "--top-k", "40", "--min-p", "0.01"},
      {"In the beginning", "--repetition-penalty", "1.3", "--presence-penalty", "0.5", "--frequency-penalty", "0.5"},
      {" que son de los que", "--temperature", "0", "--stop", "de los"},
      {"In the beginning", "--logit-bias", "77=100", "--min-tokens", "5", "--stop-token-id", "77"},
      {"--file", folder / "text.txt"},
      {"--ids", folder / "ids.json"},
      {"--chat", folder / "chat.json", "--temperature", "0", "--safe-prompt"},
      {"In the beginning", "--num-samples", "3"},
  };
  for (const auto& flags : cases) {
    SCOPED_TRACE(json(flags).dump());
    EXPECT_EQ(output_of(remote(generate(flags))), output_of(generate(flags)));
  }
}

TEST_F(ClientTest, JsonIsThatOfALocalModel) {
  const std::vector<std::vector<std::string>> cases = {
      {"In the beginning", "--json", "--logprobs", "3"},
      {" que son de los que", "--temperature", "0", "--stop", "de los", "--json"},
      {"In the beginning", "--num-samples", "3", "--json"},
  };
  for (const auto& flags : cases) {
    const auto here = lines_of(output_of(generate(flags))), there = lines_of(output_of(remote(generate(flags))));
    ASSERT_EQ(here.size(), there.size());
    for (size_t i = 0; i < here.size(); ++i) {
      EXPECT_EQ(without_timings(json::parse(there[i])), without_timings(json::parse(here[i])));
    }
  }
}

TEST_F(ClientTest, WithoutALimitAnAnswerEndsAsALocalOneDoes) {
  const std::vector<std::string> flags = {"generate", "The LORD is my shepherd", "--temperature", "0", "--ignore-eos",
                                          "--json"};
  EXPECT_EQ(json_of(remote(flags))["token_ids"].size(), 256U);
}

TEST_F(ClientTest, AConversationIsThatOfALocalModel) {
  const std::vector<std::string> chat = {"chat",     "--temperature", "0", "--max-tokens", "24", "--stop", "\n",
                                         "--system", "Speak of kings"};
  const Launch launch{.input = "In the beginning\n\nAnd it came to pass\nstatic int sqlite3\n"};
  EXPECT_EQ(output_of(remote(chat), launch), output_of(chat, launch));
}

TEST_F(ClientTest, APromptMeansTheSameAsToALocalModel) {
  const std::vector<std::vector<std::string>> prompts = {{"generate", "</s>In the beginning"},
                                                         {"generate", "</s>In the beginning", "--parse-special", "on"}};
  for (const auto& prompt : prompts) {
    const auto command = prompt + std::vector<std::string>{"--temperature", "0", "--max-tokens", "8"};
    EXPECT_EQ(output_of(remote(command)), output_of(command));
  }
  const Launch chat{.input = R"([{"role": "user", "content": "a"}, {"role": "assistant", "content": "In the"}])"};
  const std::vector<std::string> continued = {"generate", "--chat",       "-", "--continue-last", "--temperature",
                                              "0",        "--max-tokens", "8"};
  EXPECT_EQ(output_of(remote(continued), chat), output_of(continued, chat));
  const std::vector<std::string> broken = {"generate", "-"};
  expect_refused(remote(broken), {"UTF-8"}, {.input = "a\xFF"});
  expect_refused(broken, {"UTF-8"}, {.input = "a\xFF"});
}

TEST_F(ClientTest, ProxiesAreForOtherMachines) {
  const std::string nobody = "http://127.0.0.1:" + std::to_string(free_port());
  const std::vector<std::string> command = {"generate", "In the beginning", "--temperature", "0", "--max-tokens", "4"};
  EXPECT_EQ(output_of(remote(command), {.environment = {{"http_proxy", nobody}, {"https_proxy", nobody}}}),
            output_of(command));
  const std::vector<std::string> elsewhere = command + std::vector<std::string>{"--server", "octet.invalid:50051"};
  const Outcome outcome = run_octet(elsewhere, {.environment = {{"http_proxy", nobody}}});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("the proxy " + nobody + " of http_proxy"));
  const Outcome direct = run_octet(elsewhere, {.environment = {{"http_proxy", nobody}, {"no_proxy", "a.b, .invalid"}}});
  EXPECT_EQ(direct.exit_code, 1);
  EXPECT_THAT(direct.err, ::testing::Not(HasSubstr("proxy")));
}

TEST_F(ClientTest, WhatTheServiceRefusesIsBadInput) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"--temperature", "3"}, "temperature"},
      {{"--top-p", "0"}, "top_p"},
      {{"--max-tokens", "0"}, "max_new_tokens"},
      {{"--max-tokens", "40000"}, "4096"},
      {{"--max-tokens", "-5"}, "max_tokens -5"},
      {{"--stop-token-id", "5000"}, "5000"},
      {{"--model", "another"}, "another"},
      {{"--threads", "2"}, "--threads"},
      {{"--ep", "2"}, "--ep"},
      {{"--chat-template", "chatml"}, "--chat-template"},
      {{"--tls-ca", "/nowhere/ca.pem"}, "/nowhere/ca.pem"},
      {{"--tls-ca", kSourceDir / "README.md"}, "CERTIFICATE"},
      {{"--api-key-file", "/nowhere/key"}, "/nowhere/key"},
  };
  for (const auto& [flags, part] : cases) {
    expect_refused(remote(std::vector<std::string>{"generate", "In the beginning"} + flags), {part});
  }
  const Launch launch{.input = R"([{"role": "tool", "content": "x"}])"};
  expect_refused(remote({"generate", "--chat", "-"}), {"tool"}, launch);
}

TEST_F(ClientTest, AServiceThatIsNotThereIsAFailure) {
  const std::string nowhere = "127.0.0.1:" + std::to_string(free_port());
  const std::vector<std::vector<std::string>> commands = {{"generate", "x"}, {"chat"}, {"bench", "serve"}};
  for (const std::vector<std::string>& command : commands) {
    const Outcome outcome = run_octet(command + std::vector<std::string>{"--server", nowhere});
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_EQ(lines_of(outcome.err).size(), 1U) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(nowhere));
  }
}

TEST_F(ClientTest, AnInterruptEndsTheCall) {
  RunningOctet octet(remote({"generate", "The LORD", "--ignore-eos", "--max-tokens", "4000"}));
  octet.read_bytes(20);
  octet.send(SIGINT);
  const Outcome outcome = octet.wait();
  EXPECT_EQ(outcome.exit_code, 130);
  EXPECT_THAT(outcome.out, EndsWith("\n"));
}

TEST_F(ClientTest, AnAbortedStreamEndsAsCancelled) {
  Streams streams(job_->client());
  ClientCall call = greedy_call("The LORD", 4000);
  call.request_id = "to be aborted";
  const Heard& heard = streams.begin(call);
  ASSERT_TRUE(streams.listen_until_all_speak());
  EXPECT_TRUE(streams.client().abort("to be aborted").ok());
  EXPECT_TRUE(streams.client().abort("unknown").ok());
  ASSERT_TRUE(streams.listen_to_the_end());
  EXPECT_EQ(heard.end->code, RpcCode::kCancelled);
  EXPECT_LT(heard.token_ids.size(), 4000U);
}

TEST_F(ClientTest, ADeadlineEndsItsStreamAlone) {
  Streams streams(job_->client());
  ClientCall call = greedy_call("The LORD", 4000);
  call.deadline = std::chrono::milliseconds(50);
  const Heard& hurried = streams.begin(call);
  const Heard& other = streams.begin(greedy_call("In the beginning", 200));
  ASSERT_TRUE(streams.listen_to_the_end());
  EXPECT_EQ(hurried.end->code, RpcCode::kDeadlineExceeded);
  EXPECT_TRUE(other.end->ok());
  EXPECT_EQ(other.text, local_text("In the beginning", 200));
}

TEST_F(ClientTest, PythonExampleStreamsTheSameText) {
  const Outcome outcome =
      run_python({"--server", job_->address(), "--temperature", "0", "--max-tokens", "30", "In the beginning"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, local_text("In the beginning", 30));
  EXPECT_THAT(outcome.err, HasSubstr("length: 30 tokens"));
}

TEST_F(ClientTest, PythonExampleReadsTheDetailsOfErrors) {
  const Outcome outcome = run_python({"--server", job_->address(), "--temperature", "3", "In the beginning"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err, StartsWith("INVALID_ARGUMENT: "));
  EXPECT_THAT(outcome.err, HasSubstr("\n  field sampling.temperature: 3 is not in [0, 2]"));
}

class ApiKeyTest : public ClientTest {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TempFolder>();
    write_secret(*folder_ / "key", "sesame\n");
    write_secret(*folder_ / "wrong", "barley\n");
    job_ = std::make_unique<ServeJob>(ServeLaunch{.flags = {"--api-key-file", *folder_ / "key"}});
  }
  static void TearDownTestSuite() {
    ClientTest::TearDownTestSuite();
    folder_.reset();
  }
  static inline std::unique_ptr<TempFolder> folder_;
};

TEST_F(ApiKeyTest, TheRightKeyOpens) {
  const std::vector<std::string> key = {"--api-key-file", *folder_ / "key"};
  const std::string text = local_text("In the beginning", 10);
  const std::vector<std::string> flags = {"--temperature", "0", "--max-tokens", "10", "In the beginning"};
  EXPECT_EQ(output_of(remote(std::vector<std::string>{"generate"} + flags + key)), text + "\n");
  EXPECT_EQ(run_python(std::vector<std::string>{"--server", job_->address()} + flags + key).out, text);
}

TEST_F(ApiKeyTest, NoKeyAndAWrongOneDoNot) {
  expect_refused(remote({"generate", "x"}), {job_->address(), "authorization"});
  expect_refused(remote({"chat"}), {job_->address(), "authorization"});
  expect_refused(remote({"generate", "x", "--api-key-file", *folder_ / "wrong"}), {job_->address(), "authorization"});
  expect_refused(remote({"generate", "x"}), {"authorization", "--api-key-file"});
  const Outcome outcome = run_python({"--server", job_->address(), "x"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, StartsWith("UNAUTHENTICATED: "));
}

// Servers that show a certificate, and may ask for the client's.
class TlsTest : public ClientTest {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TempFolder>();
    for (const std::string name : {"server", "other"}) {
      const std::string command = fmt::format(
          "openssl req -x509 -newkey rsa:2048 -nodes -keyout {0}/{1}.key -out {0}/{1}.pem -days 2 "
          "-subj /CN={1} -addext subjectAltName=IP:127.0.0.1 2>{0}/openssl.txt",
          folder_->path().string(), name);
      ASSERT_EQ(std::system(command.c_str()), 0) << read_file(*folder_ / "openssl.txt");
    }
    job_ = std::make_unique<ServeJob>(ServeLaunch{.flags = {"--tls-cert", file("server.pem"), "--tls-key",
                                                            file("server.key"), "--tls-client-ca", file("other.pem")}});
  }
  static void TearDownTestSuite() {
    ClientTest::TearDownTestSuite();
    folder_.reset();
  }
  static std::string file(const std::string& name) { return *folder_ / name; }
  static inline std::unique_ptr<TempFolder> folder_;
};

TEST_F(TlsTest, WhoTrustsAndIsTrustedIsAnswered) {
  const std::vector<std::string> flags = {"--temperature", "0", "--max-tokens", "10", "In the beginning"};
  EXPECT_EQ(output_of(remote(std::vector<std::string>{"generate", "--tls-ca", file("server.pem"), "--tls-cert",
                                                      file("other.pem"), "--tls-key", file("other.key")} +
                             flags)),
            output_of(std::vector<std::string>{"generate"} + flags));
}

TEST_F(TlsTest, OthersAreTurnedAwayInOneLine) {
  const std::vector<std::vector<std::string>> others = {
      {},
      {"--tls-ca", file("other.pem")},
      {"--tls-ca", file("server.pem")},
      {"--tls-ca", file("server.pem"), "--tls-cert", file("server.pem"), "--tls-key", file("server.key")},
  };
  for (const auto& flags : others) {
    SCOPED_TRACE(json(flags).dump());
    const Outcome outcome = run_octet(remote(std::vector<std::string>{"generate", "x"} + flags));
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(lines_of(outcome.err).size(), 1U) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(job_->address()));
  }
}

}  // namespace
}  // namespace octet::testing
