// Callers without keys that share the file of a socket: they have no address to tell them apart.
#include <filesystem>
#include <fstream>
#include <set>

#include "tests/launcher/run_job.h"
#include "tests/service/rpc_client.h"

namespace octet::testing {
namespace {

using ::testing::MatchesRegex;

class UnixCallers : public ::testing::Test {
 protected:
  std::unique_ptr<Stub> connect() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto channel = grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments);
    EXPECT_TRUE(channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::minutes(1)));
    return v1::Generation::NewStub(channel);
  }
  static void abort_call(Stub& stub, const std::string& id) {
    grpc::ClientContext context;
    v1::AbortRequest request;
    request.set_request_id(id);
    v1::AbortResponse response;
    EXPECT_TRUE(stub.Abort(&context, request, &response).ok());
  }
  // A call of the caller, which is under way when `aborting` asks for its end.
  static Reply call_and_abort(Stub& caller, Stub& aborting, uint32_t num_tokens) {
    v1::GenerateRequest request = text_request("a", num_tokens);
    request.set_request_id("mine");
    return stream(caller, request, {.on_first_chunk = [&aborting] { abort_call(aborting, "mine"); }});
  }
  // What the kernel calls the sockets of the service that have a name without a file.
  std::multiset<std::string> names() const {
    std::set<std::string> inodes;
    for (const auto& file : std::filesystem::directory_iterator("/proc/" + std::to_string(run_.pid()) + "/fd")) {
      std::error_code gone;
      inodes.insert(std::filesystem::read_symlink(file.path(), gone).string());
    }
    std::multiset<std::string> found;
    std::ifstream sockets("/proc/net/unix");
    for (std::string line; std::getline(sockets, line);) {
      std::istringstream words(line);
      std::string skipped, inode, name;
      for (int i = 0; i < 6; ++i) words >> skipped;
      words >> inode >> name;
      if (name.starts_with("@octet-") && inodes.contains("socket:[" + inode + "]")) found.insert(name);
    }
    return found;
  }

  const TempFolder folder_;
  const std::string address_ = "unix:" + (folder_ / "socket").string();
  RunningOctet run_{
      {"serve", "--listen", address_, "--metrics-listen", "", "--kv-cache", "16M", "--max-context", "4096"}};
};

TEST_F(UnixCallers, AbortOnlyTheCallsOfTheirOwnConnection) {
  run_.await_error("ready: serving");
  const auto first = connect(), second = connect();
  const Reply others = call_and_abort(*first, *second, 100);
  ASSERT_TRUE(others.status.ok()) << others.status.error_message();
  EXPECT_EQ(others.samples.at(0).finish, v1::FINISH_REASON_LENGTH);
  const Reply own = call_and_abort(*first, *first, 2000);
  EXPECT_EQ(own.status.error_code(), grpc::StatusCode::CANCELLED) << own.status.error_message();
}

// Who could foretell the name of a connection would take it first, and the two of a pair without one would be the same.
TEST_F(UnixCallers, HaveNamesThatNobodyForetells) {
  run_.await_error("ready: serving");
  const auto first = connect(), second = connect();
  for (const auto& stub : {first.get(), second.get()}) EXPECT_TRUE(stream(*stub, text_request("a", 1)).status.ok());
  const std::multiset<std::string> found = names();
  EXPECT_GE(found.size(), 2U);
  for (const std::string& name : found) {
    EXPECT_EQ(found.count(name), 1U);
    EXPECT_THAT(name, MatchesRegex("@octet-[0-9a-f]{32}/unix"));
  }
}

}  // namespace
}  // namespace octet::testing
