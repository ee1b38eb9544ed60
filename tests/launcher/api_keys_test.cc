// The file of --api-keys: what it may say, how its keys are made, and reading it again.
#include "launcher/api_keys_file.h"

#include "tests/launcher/run_job.h"
#include "tests/service/secret.h"
#include "tests/service/serve_job.h"

namespace octet::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

const std::string kHash = to_hex(sha256("a key")), kOtherHash = to_hex(sha256("another key"));

std::string entry(const std::string& name, const std::string& hash, const std::string& more = "") {
  return "[[key]]\nname = \"" + name + "\"\nsha256 = \"" + hash + "\"\n" + more + "\n";
}

TEST(ApiKeysFile, SaysWhatEachKeyMayDo) {
  const auto read = parse_api_keys(entry("alice", kHash,
                                         "max_priority = 7\nrequests_per_minute = 600\ntokens_per_minute = 90000\n"
                                         "concurrency = 4\nmay_abort = true\nown_cache = false\n") +
                                       entry("bob", kOtherHash),
                                   "keys.toml");
  ASSERT_TRUE(read.ok()) << read.status().message();
  ASSERT_EQ(read->size(), 2U);
  const TenantPolicy &alice = read->at(0), &bob = read->at(1);
  EXPECT_EQ(alice.name, "alice");
  EXPECT_EQ(alice.key_sha256, sha256("a key"));
  EXPECT_EQ(alice.max_priority, 7);
  EXPECT_EQ(alice.requests_per_minute, 600);
  EXPECT_EQ(alice.tokens_per_minute, 90000);
  EXPECT_EQ(alice.concurrency, 4);
  EXPECT_TRUE(alice.may_abort);
  EXPECT_FALSE(alice.own_cache);
  EXPECT_EQ(bob.max_priority, 0);
  EXPECT_EQ(bob.requests_per_minute, std::nullopt);
  EXPECT_EQ(bob.tokens_per_minute, std::nullopt);
  EXPECT_EQ(bob.concurrency, std::nullopt);
  EXPECT_FALSE(bob.may_abort);
  EXPECT_TRUE(bob.own_cache);
}

TEST(ApiKeysFile, WhatIsWrongIsNamedWithItsLine) {
  const std::string good = entry("alice", kHash);
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "no [[key]]"},
      {"key = []", "no [[key]]"},
      {"key = [1]", "keys.toml:1: key"},
      {"[key]\nname = \"a\"", "keys.toml:1: key: an array"},
      {"[[keys]]\n", "unknown key 'keys'; did you mean key?"},
      {"[[key]\n", "keys.toml:1"},
      {"[[key]]\nmay_abort = fal\nse\n", "keys.toml:"},
      {entry("", kHash), "keys.toml:2: name"},
      {entry("a b", kHash), "keys.toml:1: name: 'a b'"},
      {entry("a\\n", kHash), "keys.toml:1: name"},
      {entry("alice", "abc"), "keys.toml:1: sha256"},
      {entry("alice", kHash.substr(2) + "zz"), "keys.toml:1: sha256"},
      {entry("alice", kHash.substr(2) + "+1"), "keys.toml:1: sha256"},
      {good + good, "keys.toml:5: name: alice stands here twice"},
      {good + entry("bob", kHash), "keys.toml:5: sha256: alice and bob have the same key"},
      {entry("alice", kHash, "max_priority = 101"), "keys.toml:4: max_priority"},
      {entry("alice", kHash, "concurrency = 0"), "keys.toml:4: concurrency"},
      {entry("alice", kHash, "requests_per_minute = 1.5"), "keys.toml:4: requests_per_minute"},
      {entry("alice", kHash, "tokens_per_minute = -1"), "keys.toml:4: tokens_per_minute"},
      {entry("alice", kHash, "may_abort = \"yes\""), "keys.toml:4: may_abort: true or false"},
      {entry("alice", kHash, "may_abrt = true"), "did you mean may_abort?"},
      {entry("alice", kHash, "key = \"a key\""), "unknown key 'key'"},
  };
  for (const auto& [text, part] : cases) {
    const auto read = parse_api_keys(text, "keys.toml");
    ASSERT_FALSE(read.ok()) << text;
    EXPECT_EQ(read.status().code(), StatusCode::kInvalidInput);
    EXPECT_THAT(read.status().message(), HasSubstr(part)) << text;
    EXPECT_EQ(std::ranges::count(read.status().message(), '\n'), 0) << read.status().message();
  }
}

TEST(ApiKeysFile, IsRefusedWhereOthersCanWriteIt) {
  const TempFolder folder;
  write_secret(folder / "keys.toml", entry("alice", kHash));
  EXPECT_TRUE(read_api_keys(folder / "keys.toml").ok());
  std::filesystem::permissions(folder / "keys.toml", std::filesystem::perms(0644));  // no secret stands in it
  EXPECT_TRUE(read_api_keys(folder / "keys.toml").ok());
  std::filesystem::permissions(folder / "keys.toml", std::filesystem::perms(0664));
  const auto refused = read_api_keys(folder / "keys.toml");
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.status().message(), AllOf(HasSubstr("0664"), HasSubstr("chmod go-w")));
  EXPECT_FALSE(read_api_keys(folder / "no-such-file").ok());
  EXPECT_FALSE(read_api_keys(folder.path()).ok());
}

TEST(ApiKeyCommand, MakesAKeyAndTheEntryThatKnowsIt) {
  const TempFolder folder;
  const Outcome shown = run_octet({"api-key", "alice"});
  ASSERT_EQ(shown.exit_code, 0) << shown.err;
  ASSERT_THAT(shown.err, MatchesRegex("the key of alice, which is kept nowhere: [0-9a-f]{64}\n"));
  const std::string key = shown.err.substr(shown.err.size() - 65, 64);
  const auto read = parse_api_keys(shown.out, "out");
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->at(0).name, "alice");
  EXPECT_EQ(read->at(0).key_sha256, sha256(key));
  EXPECT_EQ(shown.out.find(key), std::string::npos);

  const std::string path = folder / "bob.key";
  const Outcome written = run_octet({"api-key", "bob", "--key-file", path});
  ASSERT_EQ(written.exit_code, 0) << written.err;
  EXPECT_EQ(written.err, "");
  EXPECT_EQ(std::filesystem::status(path).permissions(), std::filesystem::perms(0600));
  EXPECT_EQ(parse_api_keys(written.out, "out")->at(0).key_sha256, sha256(read_file(path).substr(0, 64)));
  expect_refused({"api-key", "bob", "--key-file", path}, {path, "exists"});
  expect_refused({"api-key", "b\nb"}, {"letters"});
  expect_refused({"api-key"}, {"NAME"});
}

// A service whose keys are those of a file.
class ServedKeysTest : public JobTest, public ::testing::WithParamInterface<int> {
 protected:
  ServedKeysTest() {
    write_secret(folder_ / "alice.key", "a key\n");
    write_secret(folder_ / "bob.key", "another key\n");
    write_secret(folder_ / "keys.toml", entry("alice", kHash));
  }
  // What a client with this key hears.
  static Outcome ask(const ServeJob& job, const std::string& key_file) {
    return run_octet({"generate", "a", "--max-tokens", "1", "--server", job.address(), "--api-key-file", key_file});
  }
  std::string path(const std::string& name) const { return folder_ / name; }

  TempFolder folder_;
};
INSTANTIATE_TEST_SUITE_P(Ranks, ServedKeysTest, ::testing::Values(0, 2));

TEST_P(ServedKeysTest, AreReadAgainOnSighup) {
  ServeJob job({.num_ranks = GetParam(), .flags = {"--api-keys", path("keys.toml")}});
  EXPECT_EQ(ask(job, path("alice.key")).exit_code, 0);
  EXPECT_EQ(ask(job, path("bob.key")).exit_code, 2);
  write_secret(folder_ / "keys.toml", entry("bob", kOtherHash));
  job.run().send(SIGHUP);
  job.await("read again, 1 keys");
  EXPECT_EQ(ask(job, path("alice.key")).exit_code, 2);
  EXPECT_EQ(ask(job, path("bob.key")).exit_code, 0);
  // A file that is wrong changes nothing.
  write_secret(folder_ / "keys.toml", "[[key]]\nname = 1\n");
  job.run().send(SIGHUP);
  job.await("keys.toml:2: name: a text is expected; the keys read before stay");
  EXPECT_EQ(ask(job, path("bob.key")).exit_code, 0);
  job.run().send(SIGTERM);
  EXPECT_EQ(job.run().wait().exit_code, 0);
}

TEST_F(ServedKeysTest, AFileThatIsWrongIsRefusedAtTheStart) {
  expect_refused({"serve", "--listen", "127.0.0.1:0", "--metrics-listen", "", "--api-keys", path("none.toml")},
                 {"none.toml"});
  write_secret(folder_ / "keys.toml", entry("alice", "x"));
  expect_refused({"serve", "--listen", "127.0.0.1:0", "--metrics-listen", "", "--api-keys", path("keys.toml")},
                 {"keys.toml:1: sha256"});
  expect_refused({"serve", "--api-keys", path("keys.toml"), "--api-key-file", path("alice.key")}, {"--api-key"});
}

TEST_F(ServedKeysTest, WhoCanReachWhatIsSaidAtTheStart) {
  const std::string any = "0.0.0.0:0";
  const auto warnings = [&](std::vector<std::string> flags) {
    RunningOctet run(std::vector<std::string>{"serve", "--metrics-listen", "", "--listen"} + flags);
    run.await_error("ready: serving");
    run.send(SIGTERM);
    return run.wait().err;
  };
  EXPECT_THAT(warnings({any}), HasSubstr("0.0.0.0:0: whoever reaches this address may use the service"));
  EXPECT_THAT(warnings({any, "--api-keys", path("keys.toml")}), HasSubstr("travel in clear"));
  EXPECT_THAT(warnings({"127.0.0.1:0"}), ::testing::Not(HasSubstr("whoever reaches")));
}

TEST(InsecureKey, IsRefusedUnlessItIsSaidSo) {
  const TempFolder folder;
  write_secret(folder / "key", "a key\n");
  const std::string key = folder / "key";
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{"generate", "x"}, {"chat"}, {"bench", "serve"}}) {
    expect_refused(command + std::vector<std::string>{"--server", "192.0.2.1:1", "--api-key-file", key},
                   {"192.0.2.1:1", "in clear", "--insecure-key"});
  }
}

}  // namespace
}  // namespace octet::testing
