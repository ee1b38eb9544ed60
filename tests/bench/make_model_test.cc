#include "bench/make_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "runtime/base/float16.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/checkpoint/safetensors.h"
#include "tests/base/temp_folder.h"

namespace octet {
namespace {

MakeModelOptions tiny(const std::filesystem::path& path, uint64_t seed = 1, int num_threads = 2) {
  return {.path = path, .shape = *find_checkpoint_shape("tiny"), .seed = seed, .num_threads = num_threads};
}

std::vector<float> tensor(const std::filesystem::path& path, const std::string& name) {
  const auto file = SafetensorsFile::open(path / "model.safetensors");
  OCTET_CHECK(file.ok() && file->find(name) != nullptr, "{}", name);
  const StoredTensor* stored = file->find(name);
  std::vector<uint16_t> bits(static_cast<size_t>(stored->end - stored->begin) / 2);
  std::memcpy(bits.data(), file->data(*stored), 2 * bits.size());
  std::vector<float> values;
  for (const uint16_t element : bits) values.push_back(bf16_to_f32(element));
  return values;
}

TEST(MakeModel, IsACheckpointOfTheShape) {
  const TempFolder folder;
  const auto options = tiny(folder / "model");
  ASSERT_TRUE(make_model(options).ok());
  const auto checkpoint = Checkpoint::open(folder / "model");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ(checkpoint->config().num_layers, options.shape.layers);
  EXPECT_EQ(checkpoint->config().head_dim, options.shape.head_dim);
  EXPECT_EQ(2 * checkpoint->config().num_parameters(), checkpoint_bytes(options.shape));
}

TEST(MakeModel, BytesDependOnTheSeedAloneNotOnThreads) {
  const TempFolder folder;
  ASSERT_TRUE(make_model(tiny(folder / "a", 1, 1)).ok());
  ASSERT_TRUE(make_model(tiny(folder / "b", 1, 3)).ok());
  ASSERT_TRUE(make_model(tiny(folder / "c", 2, 1)).ok());
  EXPECT_EQ(read_file(folder / "a/model.safetensors"), read_file(folder / "b/model.safetensors"));
  EXPECT_NE(read_file(folder / "a/model.safetensors"), read_file(folder / "c/model.safetensors"));
}

TEST(MakeModel, ElementsAreNormalWithTheVarianceOfTheColumns) {
  const TempFolder folder;
  auto options = tiny(folder / "model");
  options.shape.hidden = 256;  // enough elements for the moments
  ASSERT_TRUE(make_model(options).ok());
  for (const auto& [name, variance] :
       std::vector<std::pair<std::string, double>>{{"model.embed_tokens.weight", 1},
                                                   {"model.layers.1.block_sparse_moe.experts.7.w2.weight", 1.0 / 96},
                                                   {"lm_head.weight", 1.0 / 256}}) {
    const auto values = tensor(folder / "model", name);
    double sum = 0, squares = 0;
    size_t within = 0;
    for (const float value : values) {
      sum += value;
      squares += static_cast<double>(value) * value;
      within += std::abs(value) < std::sqrt(variance);
    }
    const auto count = static_cast<double>(values.size());
    EXPECT_NEAR(sum / count, 0, 5 * std::sqrt(variance / count)) << name;
    EXPECT_NEAR(squares / count, variance, 0.03 * variance) << name;
    EXPECT_NEAR(static_cast<double>(within) / count, 0.6827, 0.03) << name;
  }
  EXPECT_THAT(tensor(folder / "model", "model.norm.weight"), testing::Each(1.0F));
  EXPECT_NE(tensor(folder / "model", "model.layers.0.self_attn.k_proj.weight"),
            tensor(folder / "model", "model.layers.0.self_attn.v_proj.weight"));
}

TEST(MakeModel, NeverOverwritesAModel) {
  const TempFolder folder;
  ASSERT_TRUE(make_model(tiny(folder / "model")).ok());
  const Status again = make_model(tiny(folder / "model", 2));
  EXPECT_EQ(again.code(), StatusCode::kInvalidInput);
  EXPECT_THAT(again.message(), testing::HasSubstr((folder / "model").string()));
}

TEST(MakeModel, RefusesWhatTheDiskHasNoRoomFor) {
  const TempFolder folder;
  auto options = tiny(folder / "model");
  options.shape = {1 << 16, 1 << 18, 1 << 10, 1 << 10, 8, 64, 32000, 64, 2};  // 6.6 PB
  const Status status = make_model(options);
  EXPECT_EQ(status.code(), StatusCode::kFailed);
  EXPECT_THAT(status.message(), testing::HasSubstr("room"));
  EXPECT_TRUE(std::filesystem::is_empty(folder / "model"));
}

TEST(MakeModel, RefusesAShapeThatCannotBe) {
  const TempFolder folder;
  auto options = tiny(folder / "model");
  options.shape.top_k = 9;
  EXPECT_EQ(make_model(options).code(), StatusCode::kInvalidInput);
  EXPECT_EQ(find_checkpoint_shape("mixtral").status().code(), StatusCode::kInvalidInput);
}

TEST(MakeModel, StopsWhenAskedAndLeavesNoWeights) {
  const TempFolder folder;
  auto options = tiny(folder / "model");
  options.progress = [](int64_t) { return Status(StatusCode::kInterrupted, "enough"); };
  EXPECT_EQ(make_model(options).code(), StatusCode::kInterrupted);
  EXPECT_TRUE(std::filesystem::is_empty(folder / "model"));
}

TEST(MakeModel, NamedShapesHaveTheirSizes) {
  EXPECT_NEAR(static_cast<double>(checkpoint_bytes(*find_checkpoint_shape("mixtral-1b-shape"))), 3.05e9, 0.01e9);
  EXPECT_EQ(checkpoint_bytes(*find_checkpoint_shape("mixtral-8x7b")), 2 * 46'702'792'704);
}

}  // namespace
}  // namespace octet
