// The whole forward pass against the reference implementation's outputs, for every checkpoint layout and every device.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <tuple>

#include "runtime/checkpoint/safetensors.h"
#include "tests/model/model_fixture.h"

namespace octet::testing {
namespace {

// Largest difference allowed, relative to the largest logit of the prompt.
constexpr float kTolerance = 2e-4F;

struct Golden {
  std::vector<TokenId> ids;
  std::vector<int64_t> positions;
  std::vector<TokenId> greedy;
  std::vector<std::vector<float>> logits;  // of the positions
};

std::vector<Golden> read_golden(const std::string& name) {
  std::ifstream stream(golden_dir() / name / "prompts.json");
  const auto prompts = nlohmann::json::parse(stream).at("prompts");
  auto file = SafetensorsFile::open(golden_dir() / name / "expected.safetensors");
  OCTET_CHECK(file.ok(), "{}", file.status().message());
  std::vector<Golden> goldens;
  for (size_t i = 0; i < prompts.size(); ++i) {
    Golden golden{prompts[i].at("ids"), prompts[i].at("positions"), prompts[i].at("greedy"), {}};
    const StoredTensor* tensor = file->find("prompt" + std::to_string(i) + ".logits");
    OCTET_CHECK(tensor != nullptr && tensor->shape.size() == 2 && tensor->dtype == DType::kF32);
    const size_t vocab = static_cast<size_t>(tensor->shape[1]);
    for (int64_t r = 0; r < tensor->shape[0]; ++r) {
      golden.logits.emplace_back(vocab);
      std::memcpy(golden.logits.back().data(), file->data(*tensor) + static_cast<size_t>(r) * vocab * 4, vocab * 4);
    }
    goldens.push_back(std::move(golden));
  }
  return goldens;
}

float largest_difference(const std::vector<std::vector<float>>& a, const std::vector<std::vector<float>>& b) {
  float largest = 0;
  for (size_t r = 0; r < a.size(); ++r) {
    for (size_t i = 0; i < a[r].size(); ++i) largest = std::max(largest, std::abs(a[r][i] - b[r][i]));
  }
  return largest;
}

float largest_magnitude(const std::vector<std::vector<float>>& rows) {
  float largest = 0;
  for (const auto& row : rows) {
    for (const float v : row) largest = std::max(largest, std::abs(v));
  }
  return largest;
}

void expect_logits_agree(const std::vector<std::vector<float>>& logits, const Golden& golden) {
  ASSERT_EQ(logits.size(), golden.logits.size());
  const float difference = largest_difference(logits, golden.logits) / largest_magnitude(golden.logits);
  std::printf("largest difference %.1e of the largest logit\n", static_cast<double>(difference));
  EXPECT_LE(difference, kTolerance);
}

using Case = std::tuple<std::string, BackendOptions>;

class LayoutTest : public ::testing::TestWithParam<Case> {};

TEST_P(LayoutTest, LogitsAndGreedyContinuationAgreeWithTheReference) {
  const auto& [name, device] = GetParam();
  ModelOnOneRank model(golden_checkpoint(name), device, 512);
  for (const Golden& golden : read_golden(name)) {
    expect_logits_agree(model.logits(golden.ids, golden.positions, 512), golden);
    EXPECT_EQ(model.greedy(golden.ids, golden.greedy.size()), golden.greedy);
  }
}

TEST_P(LayoutTest, LogitsHaveTheSameBitsWhateverThePrefillChunk) {
  const auto& [name, device] = GetParam();
  ModelOnOneRank model(golden_checkpoint(name), device, 512);
  for (const Golden& golden : read_golden(name)) {
    const auto whole = model.logits(golden.ids, golden.positions, 512);
    for (const int64_t chunk : {1, 7, 64}) {
      EXPECT_EQ(model.logits(golden.ids, golden.positions, chunk), whole) << "chunks of " << chunk;
    }
  }
}

std::string case_name(const ::testing::TestParamInfo<Case>& test) {
  std::string name = std::get<0>(test.param) + "_" + device_name(std::get<1>(test.param));
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(
    Goldens, LayoutTest,
    ::testing::Combine(::testing::Values("plain-f32", "odd-bf16-sharded", "fused-f16", "native-bf16", "window-bf16",
                                         "six-experts-top3-tied", "kv8-bf16", "kv6-bf16", "octet-demo", "rope-linear",
                                         "rope-dynamic", "rope-llama3", "rope-yarn", "rope-yarn-mscale"),
                       ::testing::ValuesIn(devices_here())),
    case_name);

TEST(GoldenTest, LogitsAgreeOver32768Positions) {
  const auto goldens = read_golden("long-32k");
  ModelOnOneRank model(golden_checkpoint("long-32k"), BackendOptions{}, 32768);
  expect_logits_agree(model.logits(goldens[0].ids, goldens[0].positions, 512), goldens[0]);
}

}  // namespace
}  // namespace octet::testing
