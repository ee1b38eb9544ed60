// octet logits: the file it writes.
#include <cmath>
#include <cstring>

#include "runtime/checkpoint/safetensors.h"
#include "tests/launcher/run_octet.h"

namespace octet::testing {
namespace {

using nlohmann::json;

struct Logits {
  std::vector<int64_t> shape;
  std::vector<float> values;
};

Logits read_logits(const std::filesystem::path& path, const std::string& name) {
  const auto file = SafetensorsFile::open(path);
  OCTET_CHECK(file.ok(), "{}", file.status().message());
  const StoredTensor* tensor = file->find(name);
  OCTET_CHECK(tensor != nullptr && tensor->dtype == DType::kF32, "{}: {}", path.string(), name);
  Logits logits{tensor->shape, std::vector<float>(static_cast<size_t>(tensor->end - tensor->begin) / sizeof(float))};
  std::memcpy(logits.values.data(), file->data(*tensor), logits.values.size() * sizeof(float));
  return logits;
}

void expect_close(const Logits& actual, const Logits& expected) {
  EXPECT_EQ(actual.shape, expected.shape);
  ASSERT_EQ(actual.values.size(), expected.values.size());
  float largest = 0, difference = 0;
  for (size_t i = 0; i < expected.values.size(); ++i) {
    largest = std::max(largest, std::abs(expected.values[i]));
    difference = std::max(difference, std::abs(actual.values[i] - expected.values[i]));
  }
  EXPECT_LE(difference, 2e-4F * largest);
}

std::string joined(const json& positions) {
  std::string text = positions.dump();
  return text.substr(1, text.size() - 2);
}

class LogitsOf : public ::testing::TestWithParam<const char*> {};

TEST_P(LogitsOf, PromptsAreTheReferences) {
  const std::string name = GetParam();
  const TempFolder folder;
  const json prompts = read_json(kGoldenDir / name / "prompts.json")["prompts"];
  for (size_t i = 0; i < prompts.size(); ++i) {
    write_file(folder / "ids.json", prompts[i]["ids"].dump());
    output_of({"logits", "--model", name == "octet-demo" ? kDemoModel : kGoldenDir / name, "--ids", folder / "ids.json",
               "--positions", joined(prompts[i]["positions"]), "--out", folder / "out"});
    expect_close(read_logits(folder / "out", "logits"),
                 read_logits(kGoldenDir / name / "expected.safetensors", "prompt" + std::to_string(i) + ".logits"));
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, LogitsOf, ::testing::Values("octet-demo", "native-bf16", "odd-bf16-sharded"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Logits, OfATextAreThoseOfItsIds) {
  const TempFolder folder;
  const json prompt = read_json(kGoldenDir / "octet-demo/prompts.json")["prompts"][0];
  write_file(folder / "ids.json", prompt["ids"].dump());
  EXPECT_EQ(output_of({"logits", prompt["text"], "--out", folder / "text"}), "");
  EXPECT_EQ(output_of({"logits", "--ids", folder / "ids.json", "--out", folder / "ids", "--prefill-chunk", "1"}), "");
  const Logits logits = read_logits(folder / "text", "logits");
  EXPECT_EQ(logits.shape, (std::vector<int64_t>{std::ssize(prompt["ids"]), 4096}));
  EXPECT_EQ(logits.values, read_logits(folder / "ids", "logits").values);
}

TEST(Logits, WrongPositionsAreRefusedAndLeaveNoFile) {
  const TempFolder folder;
  for (const auto& [positions, part] : std::vector<std::pair<std::string, std::string>>{
           {"4", "4"}, {"2,1", "ascending"}, {"0,0", "ascending"}, {"one", "--positions"}, {"-1", "-1"}}) {
    expect_refused({"logits", "In the beginning", "--positions", positions, "--out", folder / "out"}, {part});
  }
  expect_refused({"logits", "In the beginning"}, {"--out"});
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Logits, APlaceThatCannotBeWrittenIsAFailure) {
  const Outcome outcome = run_octet({"logits", "In the beginning", "--out", "/nowhere/out"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, ::testing::HasSubstr("/nowhere/out"));
}

}  // namespace
}  // namespace octet::testing
