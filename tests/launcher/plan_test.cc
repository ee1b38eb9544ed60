// octet plan: the shares of the ranks add up to the model, and say where they will be.
#include "tests/launcher/run_octet.h"

namespace octet::testing {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(Plan, SharesAddUpToTheModel) {
  for (const int ranks : {1, 2, 4, 8}) {
    const json plan = json_of({"plan", "--ranks", std::to_string(ranks), "--json"});
    ASSERT_EQ(plan["ranks"].size(), static_cast<size_t>(ranks));
    std::vector<int> experts;
    int64_t kv_bytes = 0;
    for (const json& rank : plan["ranks"]) {
      experts.insert(experts.end(), rank["experts"].begin(), rank["experts"].end());
      kv_bytes += rank["kv_bytes_per_token"].get<int64_t>();
      EXPECT_EQ(rank["host"], "localhost");
    }
    EXPECT_THAT(experts, ::testing::UnorderedElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
    EXPECT_EQ(kv_bytes, json_of({"inspect", "--json"})["ranks"][0]["kv_bytes_per_token"]);
    EXPECT_EQ(plan["phases"][1]["bytes_per_token"] == 0, ranks == 1);
  }
}

TEST(Plan, KvTypeAndPlacementAreThoseOfTheJob) {
  const json plain = json_of({"plan", "--ranks", "2", "--json"});
  const json other = json_of({"plan", "--ranks", "2", "--kv-dtype", "bf16", "--placement", "round-robin", "--json"});
  EXPECT_EQ(other["ranks"][0]["kv_bytes_per_token"].get<int>() * 2, plain["ranks"][0]["kv_bytes_per_token"].get<int>());
  EXPECT_EQ(other["ranks"][1]["experts"], json({1, 3, 5, 7}));
  EXPECT_EQ(plain["ranks"][1]["experts"], json({4, 5, 6, 7}));
}

TEST(Plan, ClusterFileGivesHostsAndLayoutAndFlagsBeatIt) {
  const TempFolder folder;
  write_file(folder / "c.toml", "[layout]\ntp = 2\n[[hosts]]\nname = \"a\"\nslots = 3\n[[hosts]]\nname = \"b\"\n");
  const json plan = json_of({"plan", "--cluster", folder / "c.toml", "--json"});
  EXPECT_EQ(plan["layout"]["tp"], 2);
  EXPECT_EQ(plan["ranks"][2]["host"], "a");
  EXPECT_EQ(plan["ranks"][3]["host"], "b");
  EXPECT_EQ(json_of({"plan", "--cluster", folder / "c.toml", "--tp", "4", "--json"})["layout"]["tp"], 4);
  write_file(folder / "bad.toml", "[layout]\nexchange = \"some\"\n");
  expect_refused({"plan", "--cluster", folder / "bad.toml"}, {"bad.toml", "exchange"});
}

// The configuration of Mixtral 8x7B, whose weights are not here.
std::string mixtral() { return kSourceDir / "configs/models/mixtral-8x7b"; }

json plan_of_cluster(const std::string& name) {
  return json_of({"plan", "--model", mixtral(), "--cluster", kSourceDir / "configs/clusters" / name, "--json"});
}

TEST(Plan, ClusterFilesForGpusHoldMixtralOnceOrOnceANode) {
  // 46,702,792,704 parameters; every rank has the embedding, the norms and the routers, 32 layers of 4096.
  constexpr int64_t kParameters = 46'702'792'704;
  constexpr int64_t kEverywhere = 32000 * 4096 + (2 + 8) * 4096 * 32 + 4096;
  struct Job {
    const char* file;
    int64_t ranks, copies;
  };
  for (const Job& job : {Job{"gpus-2x80gb.toml", 2, 1}, Job{"gpus-4x80gb.toml", 4, 1}, Job{"gpus-8x80gb.toml", 8, 1},
                         Job{"gpus-2-nodes-8x80gb.toml", 16, 2}}) {
    const json plan = plan_of_cluster(job.file);
    ASSERT_EQ(plan["ranks"].size(), static_cast<size_t>(job.ranks)) << job.file;
    int64_t weights = 0;
    for (const json& rank : plan["ranks"]) {
      const json& memory = rank["memory"];
      weights += memory["weight_bytes"].get<int64_t>();
      EXPECT_TRUE(memory["fits"]);
      EXPECT_EQ(memory["device_bytes"], 80'000'000'000);
      EXPECT_EQ(memory["weight_bytes"].get<int64_t>() + memory["workspace_bytes"].get<int64_t>() +
                    memory["library_bytes"].get<int64_t>() + memory["kv_cache_bytes"].get<int64_t>(),
                80'000'000'000);
      // 128 KiB a token in 16 bits, shared by the ranks of one copy.
      const int64_t per_token = (128 << 10) / (job.ranks / job.copies);
      EXPECT_EQ(rank["kv_bytes_per_token"], per_token);
      EXPECT_EQ(memory["kv_cache_tokens"], memory["kv_cache_bytes"].get<int64_t>() / per_token);
    }
    EXPECT_EQ(weights, 2 * (job.copies * (kParameters - kEverywhere) + job.ranks * kEverywhere)) << job.file;
  }
}

TEST(Plan, WhatTheConfigurationSaysIsWhatTheFilesHold) {
  const TempFolder folder;
  const std::filesystem::path golden = kGoldenDir / "kv8-bf16";
  std::filesystem::copy_file(golden / "config.json", folder / "config.json");
  for (const char* ranks : {"1", "2", "4"}) {
    const json files = json_of({"plan", "--model", golden, "--ranks", ranks, "--json"});
    const json alone = json_of({"plan", "--model", folder / "", "--ranks", ranks, "--json"});
    EXPECT_EQ(alone["ranks"], files["ranks"]);
  }
}

TEST(Plan, AModelThatDoesNotFitIsTold) {
  const TempFolder folder;
  write_file(folder / "c.toml", "ranks = 2\ndevice_memory_gb = 40\n");
  const std::vector<std::string> command = {"plan", "--model", mixtral(), "--cluster", folder / "c.toml"};
  EXPECT_THAT(output_of(command), HasSubstr("does not fit: 9.1 GB more are needed"));
}

TEST(Plan, TextShowsEveryRankAndBothPhases) {
  EXPECT_THAT(output_of({"plan", "--ranks", "2"}),
              AllOf(HasSubstr("layout of 2 ranks: tp 2"), HasSubstr("prefill"), HasSubstr("decode"),
                    HasSubstr("\n  0      localhost"), HasSubstr("\n  1      localhost"), HasSubstr("0,1,2,3")));
}

TEST(Plan, AnImpossibleLayoutIsRefused) {
  expect_refused({"plan", "--ranks", "3", "--tp", "2"}, {"layouts of 3 ranks"});
}

}  // namespace
}  // namespace octet::testing
