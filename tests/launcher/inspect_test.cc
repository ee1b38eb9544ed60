// octet inspect: what it says of a checkpoint.
#include <numeric>

#include "tests/launcher/run_octet.h"

namespace octet::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

TEST(Inspect, NumbersOfTheDemoModel) {
  const json object = json_of({"inspect", "--json", "--tensors"});
  // 2 · 4096 · 256 for embedding and head; a layer: norms, q and o, k and v, router, 8 experts of 3 · 256 · 256.
  const int64_t attention = 2 * 256 * 512 + 2 * 256 * 256;
  const int64_t expert = 3 * 256 * 256;
  const int64_t rest = 2 * 4096 * 256 + 256 + 4 * (2 * 256 + attention + 8 * 256);
  EXPECT_EQ(object["config"]["parameters"], rest + 4 * 8 * expert);
  EXPECT_EQ(object["config"]["active_parameters"], rest + 4 * 2 * expert);
  EXPECT_EQ(object["config"]["num_heads"], 16);
  EXPECT_EQ(object["config"]["num_kv_heads"], 8);
  EXPECT_EQ(object["ranks"].size(), 1U);
  EXPECT_EQ(object["ranks"][0]["weight_bytes"], 2 * object["config"]["parameters"].get<int64_t>());
  EXPECT_EQ(object["ranks"][0]["kv_bytes_per_token"], 2 * 4 * 8 * 32 * 4);
  int64_t elements = 0;
  for (const json& tensor : object["tensors"]) {
    int64_t size = 1;
    for (const json& extent : tensor["shape"]) size *= extent.get<int64_t>();
    elements += size;
  }
  EXPECT_EQ(elements, object["config"]["parameters"]);
}

TEST(Inspect, RanksOfALayoutShareTheWeights) {
  const json whole = json_of({"inspect", "--json"});
  const json shared = json_of({"inspect", "--json", "--ranks", "4"});
  EXPECT_EQ(shared["layout"], json({{"tp", 4}, {"dp", 1}, {"ep", 4}, {"etp", 1}, {"replicas", 1}}));
  ASSERT_EQ(shared["ranks"].size(), 4U);
  std::vector<int> experts;
  int64_t kv_bytes = 0;
  for (const json& rank : shared["ranks"]) {
    for (const json& expert : rank["experts"]) experts.push_back(expert);
    kv_bytes += rank["kv_bytes_per_token"].get<int64_t>();
    EXPECT_LT(rank["weight_bytes"], whole["ranks"][0]["weight_bytes"]);
  }
  EXPECT_EQ(experts, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(kv_bytes, whole["ranks"][0]["kv_bytes_per_token"]);
}

TEST(Inspect, TextNamesTheArchitecture) {
  const std::string text = output_of({"inspect", kGoldenDir / "six-experts-top3-tied"});
  EXPECT_THAT(text, HasSubstr("6 of ffn"));
  EXPECT_THAT(text, HasSubstr("3 a token"));
  EXPECT_THAT(text, HasSubstr("tied embeddings"));
}

TEST(Inspect, LayoutsThatDoNotFitAreRefused) {
  expect_refused({"inspect", "--ranks", "4", "--tp", "3"}, {"tp"});
  expect_refused({"inspect", "--ranks", "0"}, {"--ranks"});
}

}  // namespace
}  // namespace octet::testing
