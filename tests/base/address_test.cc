#include "runtime/base/address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace octet {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(Address, WhatIsWrittenComesBack) {
  for (const char* text :
       {"127.0.0.1:50051", "localhost:1", "node-3.cluster_a.example:65535", "[::1]:50051", "[::]:80",
        "[fe80::1%eth0]:50051", "[::ffff:10.0.0.1]:9", "unix:/run/octet.sock", "unix:relative/socket",
        "unix:/run/with space:and%20colon", "unix:50051", "0.0.0.0:50051", "a.:5"}) {
    const auto asked = parse_server_address(text);
    ASSERT_TRUE(asked.ok()) << asked.status().message();
    EXPECT_EQ(asked->text(), text);
    const auto listening = parse_listen_address(text);
    ASSERT_TRUE(listening.ok()) << listening.status().message();
    EXPECT_EQ(listening->text(), text);
  }
}

TEST(Address, TheDefaultPortIsTheServices) {
  EXPECT_EQ(parse_server_address("localhost")->text(), "localhost:50051");
  EXPECT_EQ(parse_server_address("10.1.2.3")->text(), "10.1.2.3:50051");
  EXPECT_EQ(parse_server_address("[::1]")->text(), "[::1]:50051");
  EXPECT_EQ(parse_server_address("unix:/s")->text(), "unix:/s");
  EXPECT_EQ(parse_server_address("unix:///run/s")->text(), "unix:/run/s");
  EXPECT_EQ(parse_listen_address("localhost:0")->port, 0);
}

TEST(Address, WhatIsNoneIsRefusedWithWhatToWrite) {
  struct Case {
    const char* text;
    const char* why;
  };
  const std::string long_path = "unix:/" + std::string(107, 'p');
  const std::string long_name = std::string(254, 'n') + ":1";
  for (const auto& [text, why] : std::vector<Case>{
           {"", "host is missing"},
           {":50051", "host is missing"},
           {"50051", "host or the port is missing"},
           {"127.0.0.1:99999", "no number up to 65535"},
           {"127.0.0.1:-1", "no number"},
           {"127.0.0.1:+80", "no number"},
           {"127.0.0.1:http", "no number"},
           {"127.0.0.1:8o", "no number"},
           {"127.0.0.1:", "port is missing"},
           {"127.0.0.1:0x50", "no number"},
           {"127.0.0.256:1", "no IPv4 address"},
           {"127.1:1", "no IPv4 address"},
           {"1.2.3.4.5:1", "no IPv4 address"},
           {":::51961", "an IPv6 address stands in brackets, [::]:51961"},
           {"::1", "an IPv6 address stands in brackets"},
           {"fe80::1:50051", "an IPv6 address stands in brackets"},
           {"localhost:1:2", "more than one colon"},
           {"[::1", "closing bracket"},
           {"[::1]50051", "port is missing"},
           {"[::1]:", "port is missing"},
           {"[localhost]:1", "no IPv6 address"},
           {"[127.0.0.1]:1", "no IPv6 address"},
           {"[]:1", "no IPv6 address"},
           {"[::1%]:1", "no IPv6 address"},
           {"http://localhost:50051", "left out"},
           {"dns:///localhost:50051", "left out"},
           {"local host:1", "no name of a host"},
           {"größe:1", "no name of a host"},
           {"user@host:1", "no name of a host"},
           {"host/path:1", "no name of a host"},
           {long_name.c_str(), "no name of a host"},
           {"unix:", "no socket file"},
           {"unix", "no socket file"},
           {"unix:a\nb", "no socket file"},
           {long_path.c_str(), "at most 107 bytes"},
       }) {
    for (const auto& parsed : {parse_listen_address(text), parse_server_address(text)}) {
      ASSERT_FALSE(parsed.ok()) << text;
      EXPECT_EQ(parsed.status().code(), StatusCode::kInvalidInput);
      EXPECT_THAT(parsed.status().message(), HasSubstr(why)) << text;
      EXPECT_THAT(parsed.status().message(), HasSubstr("HOST:PORT, [IPv6]:PORT or unix:PATH"));
      EXPECT_EQ(parsed.status().message().find('\n'), std::string::npos);
    }
  }
  EXPECT_THAT(parse_listen_address("localhost").status().message(), StartsWith("localhost: the port is missing"));
  EXPECT_THAT(parse_server_address("localhost:0").status().message(), HasSubstr("port 0"));
  const std::string zero("[::1\0x]:1", 9), many(":::\0\n:1", 7);
  for (const std::string& text : {zero, many}) {
    EXPECT_FALSE(parse_server_address(text).ok());
    EXPECT_EQ(parse_server_address(text).status().message().find('\n'), std::string::npos);
  }
  EXPECT_THAT(parse_server_address("a\nb:1").status().message(), StartsWith(R"('a\x0ab:1')"));
}

TEST(Address, LocalIsWhatNeverLeavesThisMachine) {
  for (const char* text : {"localhost", "LocalHost:1", "db.localhost:1", "127.0.0.1", "127.8.9.10:1", "[::1]:1",
                           "[::ffff:127.0.0.1]:1", "unix:/s"}) {
    EXPECT_TRUE(parse_server_address(text)->is_local()) << text;
  }
  for (const char* text : {"example.org", "localhost.example:1", "10.0.0.1", "0.0.0.0:1", "[::]:1", "[fe80::1%lo]:1",
                           "127.example:1", "[::ffff:10.0.0.1]:1"}) {
    EXPECT_FALSE(parse_server_address(text)->is_local()) << text;
  }
}

}  // namespace
}  // namespace octet
