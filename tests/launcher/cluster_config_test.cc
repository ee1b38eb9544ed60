// Cluster files and hostfiles: what they mean, and that whatever is wrong is named with its line.
#include "launcher/job/cluster_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

namespace octet {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr const char* kFull = R"(ranks = 6
model = "/models/mixtral"
binary = "/opt/octet/bin/octet"
interface = "eth1"
mpirun_args = ["--mca", "plm_rsh_agent", "rsh"]
device = "cuda"
kv_dtype = "bf16"
device_memory_gb = 80

[layout]
tp = 2
ep = 3
exchange = "all-to-all"

[limits]
heartbeat = 5
collective = 60.5

[[hosts]]
name = "node-a"
slots = 4

[[hosts]]
name = "10.0.0.2"
)";

TEST(ClusterConfig, EveryKeyIsRead) {
  const auto config = parse_cluster_config(kFull, "c.toml");
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_THAT(config->hosts, ElementsAre(ClusterHost{"node-a", 4}, ClusterHost{"10.0.0.2", 1}));
  EXPECT_EQ(config->layout.world, 6);
  EXPECT_EQ(config->binary, "/opt/octet/bin/octet");
  EXPECT_EQ(config->interface, "eth1");
  EXPECT_THAT(config->mpirun_args, ElementsAre("--mca", "plm_rsh_agent", "rsh"));
  EXPECT_EQ(config->device_memory, 80);
  EXPECT_THAT(config->command_flags(),
              ElementsAre(Pair("--model", "/models/mixtral"), Pair("--device", "cuda"), Pair("--kv-dtype", "bf16"),
                          Pair("--tp", "2"), Pair("--ep", "3"), Pair("--exchange", "all-to-all"),
                          Pair("--heartbeat-limit", "5"), Pair("--collective-limit", "60.5")));
}

TEST(ClusterConfig, NothingIsRequired) {
  const auto config = parse_cluster_config("", "c.toml");
  ASSERT_TRUE(config.ok());
  EXPECT_TRUE(config->hosts.empty());
  EXPECT_TRUE(config->command_flags().empty());
}

struct Wrong {
  const char* toml;
  std::vector<std::string> parts;
};

TEST(ClusterConfig, WhatIsWrongIsNamedWithItsLine) {
  const Wrong wrongs[] = {
      {"ranks = 2\nmodell = \"x\"\n", {"c.toml:2:", "modell", "did you mean model?"}},
      {"[layout]\ntp = 1\n\nept = 2\n", {"c.toml:4:", "ept", "did you mean ep?"}},
      {"[limits]\nheartbeet = 1\n", {"c.toml:2:", "heartbeat"}},
      {"[[hosts]]\nname = \"a\"\nslot = 1\n", {"c.toml:3:", "slots"}},
      {"zzzzzzzzzz = 1\n", {"c.toml:1:", "zzzzzzzzzz", "the keys here are ranks, model"}},
      {"ranks = \"two\"\n", {"c.toml:1: ranks:", "whole number from 1 to 4096"}},
      {"ranks = 0\n", {"c.toml:1: ranks:"}},
      {"\nmodel = 7\n", {"c.toml:2: model:", "text"}},
      {"layout = 3\n", {"c.toml:1: layout:", "[layout]"}},
      {"[limits]\ncollective = nan\n", {"c.toml:2: collective:", "seconds"}},
      {"hosts = [1]\n", {"c.toml:1: hosts:", "[[hosts]]"}},
      {"[[hosts]]\nslots = 2\n", {"c.toml:1: hosts:", "name"}},
      {"[[hosts]]\nname = \"a\"\n[[hosts]]\nname = \"a\"\n", {"c.toml:3: hosts:", "a stands here twice"}},
      {"[[hosts]]\nname = \"a,b:9\"\n", {"c.toml:1: hosts:", "no host name"}},
      {"[[hosts]]\nname = \"--host\"\n", {"no host name"}},
      {"mpirun_args = [\"a\", 2]\n", {"c.toml:1: mpirun_args:"}},
      {"ranks = = 2\n", {"c.toml:1:"}},
  };
  for (const Wrong& wrong : wrongs) {
    const auto config = parse_cluster_config(wrong.toml, "c.toml");
    ASSERT_FALSE(config.ok()) << wrong.toml;
    EXPECT_EQ(config.status().code(), StatusCode::kInvalidInput);
    for (const std::string& part : wrong.parts) EXPECT_THAT(config.status().message(), HasSubstr(part)) << wrong.toml;
    EXPECT_EQ(config.status().message().find('\n'), std::string::npos);
  }
}

TEST(ClusterConfig, ExamplesOfTheRepositoryAreRead) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(OCTET_SOURCE_DIR "/configs/clusters")) {
    if (entry.path().extension() != ".toml") continue;
    const auto config = read_cluster_config(entry.path());
    EXPECT_TRUE(config.ok()) << config.status().message();
    ++count;
  }
  EXPECT_GE(count, 4);
}

TEST(Hostfile, LinesAreHostsWithSlots) {
  const auto hosts =
      parse_hostfile("# ours\nnode-a slots=4\n\n  node-b   # one\nnode-a slots=2 max_slots=8\n", "hosts");
  ASSERT_TRUE(hosts.ok()) << hosts.status().message();
  EXPECT_THAT(*hosts, ElementsAre(ClusterHost{"node-a", 6}, ClusterHost{"node-b", 1}));
  EXPECT_EQ(total_slots(*hosts), 7);
}

TEST(Hostfile, WhatIsWrongIsNamedWithItsLine) {
  for (const auto& [text, part] : std::vector<std::pair<std::string, std::string>>{{"a\nb slots=x\n", "hosts:2:"},
                                                                                   {"a slots=0", "hosts:1:"},
                                                                                   {"a cores=2", "cores=2"},
                                                                                   {"-x", "no host name"},
                                                                                   {"a slots=99999999999", "slots"},
                                                                                   {"# none\n", "names no host"}}) {
    const auto hosts = parse_hostfile(text, "hosts");
    ASSERT_FALSE(hosts.ok()) << text;
    EXPECT_THAT(hosts.status().message(), HasSubstr(part));
  }
}

TEST(HostOfRanks, SlotsAreFilledInOrderAndTheRestIsSharedOut) {
  const std::vector<ClusterHost> hosts = {{"a", 2}, {"b", 1}};
  EXPECT_THAT(host_of_ranks(hosts, 2), ElementsAre(0, 0));
  EXPECT_THAT(host_of_ranks(hosts, 3), ElementsAre(0, 0, 1));
  EXPECT_THAT(host_of_ranks(hosts, 4), ElementsAre(0, 0, 0, 1));
  EXPECT_THAT(host_of_ranks(hosts, 6), ElementsAre(0, 0, 0, 0, 1, 1));
}

}  // namespace
}  // namespace octet
