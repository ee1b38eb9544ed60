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
