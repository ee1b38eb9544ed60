// Where a service listens and how it is found there: socket files, IPv6, names.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <thread>

#include "runtime/service/client/client.h"
#include "runtime/service/grpc/server.h"
#include "tests/base/temp_folder.h"

namespace octet {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// A server without a model, which answers that it is loading.
Result<std::unique_ptr<Server>> start(const std::string& listen) {
  return Server::start({.listen = listen, .metrics_listen = ""}, {}, {});
}

void expect_answers(const std::string& address) {
  const auto client = ServiceClient::create({.server = address});
  ASSERT_TRUE(client.ok()) << client.status().message();
  ServedModelInfo info;
  const RpcStatus status = (*client)->get_model_info("", info);
  EXPECT_TRUE(status.ok() || status.status.message().find("load") != std::string::npos) << status.status.message();
}

bool is_socket(const std::string& path) {
  struct stat info {};
  return lstat(path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode);
}

// A socket file whose service is gone.
void leave_socket(const std::string& path) {
  const int descriptor = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  close(descriptor);
}

TEST(SocketFileTest, AServiceIsReachedAtOneAndSaysSo) {
  const TempFolder folder;
  for (const char* name : {"s", "with space", "per%20cent", "hash#query?"}) {
    const std::string address = "unix:" + (folder / name).string();
    const auto server = start(address);
    ASSERT_TRUE(server.ok()) << server.status().message();
    EXPECT_EQ((*server)->address(), address);
    EXPECT_TRUE(is_socket((folder / name).string()));
    expect_answers(address);
  }
}

TEST(SocketFileTest, OfALivingServiceIsNotTaken) {
  const TempFolder folder;
  const std::string address = "unix:" + (folder / "s").string();
  const auto first = start(address);
  ASSERT_TRUE(first.ok()) << first.status().message();
  const auto second = start(address);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), StatusCode::kInvalidInput);
  EXPECT_EQ(second.status().message(), "--listen " + address + ": in use: another service listens there");
  expect_answers(address);
}

TEST(SocketFileTest, OfADeadServiceIsReplaced) {
  const TempFolder folder;
  leave_socket((folder / "s").string());
  const auto server = start("unix:" + (folder / "s").string());
  ASSERT_TRUE(server.ok()) << server.status().message();
  expect_answers((*server)->address());
}

TEST(SocketFileTest, OfManyThatStartAtOnceOneServes) {
  const TempFolder folder;
  leave_socket((folder / "s").string());
  const std::string address = "unix:" + (folder / "s").string();
  std::atomic<int> num_serving = 0;
  std::atomic<bool> done = false;
  std::vector<std::thread> threads;
  std::atomic<int> num_started = 0;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      const auto server = start(address);
      if (server.ok()) ++num_serving;
      ++num_started;
      while (!done) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
  }
  while (num_started < 6) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(num_serving, 1);
  expect_answers(address);
  done = true;
  for (std::thread& thread : threads) thread.join();
}

TEST(SocketFileTest, NothingElseIsRemovedForIt) {
  const TempFolder folder;
  const std::string file = (folder / "file").string();
  std::ofstream(file) << "text";
  EXPECT_THAT(start("unix:" + file).status().message(), HasSubstr("no socket"));
  EXPECT_EQ(std::filesystem::file_size(file), 4);
  std::filesystem::create_symlink(file, folder / "link");
  EXPECT_THAT(start("unix:" + (folder / "link").string()).status().message(), HasSubstr("no socket"));
  EXPECT_THAT(start("unix:" + (folder / "none" / "s").string()).status().message(), HasSubstr("No such file"));
}

TEST(Listen, EveryFormOfAnAddressServes) {
  for (const char* address : {"localhost:0", "[::1]:0", "127.0.0.1:0"}) {
    const auto server = start(address);
    if (!server.ok() && std::string(address) == "[::1]:0") {  // a machine without IPv6 says so
      EXPECT_THAT(server.status().message(), HasSubstr("--listen [::1]:0: Cannot assign requested address"));
      continue;
    }
    ASSERT_TRUE(server.ok()) << server.status().message();
    EXPECT_THAT((*server)->address(), StartsWith(std::string(address).substr(0, std::strlen(address) - 1)));
    expect_answers((*server)->address());
  }
}

TEST(Listen, WhatIsNoAddressIsRefused) {
  EXPECT_THAT(start("127.0.0.1:99999").status().message(), StartsWith("--listen 127.0.0.1:99999: the port"));
  EXPECT_THAT(start(":::51961").status().message(), HasSubstr("[::]:51961"));
  const auto unix_metrics = Server::start({.listen = "127.0.0.1:0", .metrics_listen = "unix:/s"}, {}, {});
  EXPECT_THAT(unix_metrics.status().message(), HasSubstr("HOST:PORT only"));
  EXPECT_THAT(ServiceClient::create({.server = "http://localhost"}).status().message(), StartsWith("--server http://"));
  EXPECT_EQ((*ServiceClient::create({.server = "localhost"}))->server(), "localhost:50051");
}

}  // namespace
}  // namespace octet
