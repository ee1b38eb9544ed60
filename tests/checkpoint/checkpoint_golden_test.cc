// The reference checkpoints, one of every layout: what they open as, and that the same matrix is found in each.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "runtime/base/float16.h"
#include "runtime/checkpoint/check_weights.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/checkpoint/safetensors.h"

namespace octet {
namespace {

using testing::ElementsAre;

const std::filesystem::path kGolden = OCTET_SOURCE_DIR "/tests/data/golden";

Checkpoint open_golden(const std::string& name) {
  auto checkpoint = Checkpoint::open(kGolden / name);
  OCTET_CHECK(checkpoint.ok(), "{}", checkpoint.status().message());
  return *std::move(checkpoint);
}

float element(const MatrixSource& matrix, int64_t row, int64_t column) {
  const std::byte* place = matrix.row(row) + matrix.format.row_bytes(column);
  if (matrix.format == DType::kF32) {
    float value;
    std::memcpy(&value, place, sizeof(value));
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, place, sizeof(bits));
  return matrix.format == DType::kBF16 ? bf16_to_f32(bits) : f16_to_f32(bits);
}

// Element `index` of a stored tensor, read straight from the file.
float stored(const SafetensorsFile& file, const std::string& name, int64_t index) {
  const StoredTensor* tensor = file.find(name);
  OCTET_CHECK(tensor != nullptr, "{}", name);
  MatrixSource flat;
  flat.data = file.data(*tensor);
  flat.format = tensor->dtype;
  return element(flat, 0, index);
}

void expect_shape(const MatrixSource& matrix, int64_t rows, int64_t columns, const char* what) {
  EXPECT_EQ(matrix.num_rows, rows) << what;
  EXPECT_EQ(matrix.num_columns, columns) << what;
  EXPECT_GE(matrix.row_stride, columns) << what;
  EXPECT_TRUE(matrix.row_order.empty() || static_cast<int64_t>(matrix.row_order.size()) == rows) << what;
}

class EveryLayout : public testing::TestWithParam<const char*> {};

TEST_P(EveryLayout, MatricesHaveTheShapesOfTheConfiguration) {
  const Checkpoint checkpoint = open_golden(GetParam());
  const ModelConfig& config = checkpoint.config();
  expect_shape(checkpoint.embedding(), config.vocab_size, config.hidden_size, "embedding");
  expect_shape(checkpoint.final_norm(), 1, config.hidden_size, "final norm");
  expect_shape(checkpoint.output(), config.vocab_size, config.hidden_size, "output");
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    const AttentionTensors attention = checkpoint.attention(layer);
    expect_shape(attention.norm, 1, config.hidden_size, "norm");
    expect_shape(attention.q, config.query_size(), config.hidden_size, "q");
    expect_shape(attention.k, config.kv_size(), config.hidden_size, "k");
    expect_shape(attention.v, config.kv_size(), config.hidden_size, "v");
    expect_shape(attention.o, config.hidden_size, config.query_size(), "o");
    const MoeTensors moe = checkpoint.moe(layer);
    expect_shape(moe.norm, 1, config.hidden_size, "moe norm");
    expect_shape(moe.gate, config.num_experts, config.hidden_size, "gate");
    ASSERT_EQ(static_cast<int64_t>(moe.experts.size()), config.num_experts);
    for (const ExpertTensors& expert : moe.experts) {
      expect_shape(expert.w1, config.intermediate_size, config.hidden_size, "w1");
      expect_shape(expert.w3, config.intermediate_size, config.hidden_size, "w3");
      expect_shape(expert.w2, config.hidden_size, config.intermediate_size, "w2");
    }
  }
}

TEST_P(EveryLayout, EveryElementOfTheFilesIsInExactlyOneMatrix) {
  const Checkpoint checkpoint = open_golden(GetParam());
  int64_t num_elements = 0;
  for (const TensorListing& tensor : checkpoint.tensors()) {
    int64_t product = 1;
    for (const int64_t extent : tensor.shape) product *= extent;
    num_elements += product;
  }
  EXPECT_EQ(num_elements, checkpoint.config().num_parameters());
  EXPECT_GT(checkpoint.file_bytes(), num_elements * 2);
}

TEST_P(EveryLayout, WeightsAreFinite) {
  const Status status = check_finite(open_golden(GetParam()));
  EXPECT_TRUE(status.ok()) << status.message();
}

// Those of which hidden states were kept, too.
class LayoutWithHiddenStates : public EveryLayout {};

// Layer 0's hidden state of the reference is the embedding of the prompt's first token.
TEST_P(LayoutWithHiddenStates, EmbeddingsAreTheReferences) {
  const Checkpoint checkpoint = open_golden(GetParam());
  const auto expected = SafetensorsFile::open(kGolden / GetParam() / "expected.safetensors");
  ASSERT_TRUE(expected.ok());
  for (int64_t c = 0; c < checkpoint.config().hidden_size; ++c) {
    ASSERT_EQ(element(checkpoint.embedding(), checkpoint.config().bos_id, c), stored(*expected, "prompt0.hidden0", c));
  }
}

std::string layout_name(const testing::TestParamInfo<const char*>& layout) {
  std::string name = layout.param;
  std::ranges::replace(name, '-', '_');
  return name;
}

const auto kLayouts = testing::Values("plain-f32", "odd-bf16-sharded", "fused-f16", "native-bf16", "window-bf16",
                                      "six-experts-top3-tied", "kv8-bf16", "kv6-bf16");

INSTANTIATE_TEST_SUITE_P(Golden, EveryLayout, kLayouts, layout_name);
INSTANTIATE_TEST_SUITE_P(GoldenLong, EveryLayout, testing::Values("long-32k"), layout_name);
INSTANTIATE_TEST_SUITE_P(Golden, LayoutWithHiddenStates, kLayouts, layout_name);

TEST(GoldenCheckpoint, PlainMatricesAreTheFilesTensors) {
  const Checkpoint checkpoint = open_golden("plain-f32");
  const auto file = SafetensorsFile::open(kGolden / "plain-f32/model.safetensors");
  ASSERT_TRUE(file.ok());
  const std::string layer = "model.layers.1.";
  EXPECT_EQ(element(checkpoint.attention(1).q, 5, 3), stored(*file, layer + "self_attn.q_proj.weight", 5 * 64 + 3));
  EXPECT_EQ(element(checkpoint.attention(1).o, 63, 63), stored(*file, layer + "self_attn.o_proj.weight", 64 * 64 - 1));
  EXPECT_EQ(element(checkpoint.attention(1).norm, 0, 9), stored(*file, layer + "input_layernorm.weight", 9));
  EXPECT_EQ(element(checkpoint.moe(1).norm, 0, 9), stored(*file, layer + "post_attention_layernorm.weight", 9));
  const std::string expert = layer + "block_sparse_moe.experts.7.";
  EXPECT_EQ(element(checkpoint.moe(1).experts[7].w1, 95, 2), stored(*file, expert + "w1.weight", 95 * 64 + 2));
  EXPECT_EQ(element(checkpoint.moe(1).experts[7].w3, 1, 2), stored(*file, expert + "w3.weight", 64 + 2));
  EXPECT_EQ(element(checkpoint.moe(1).experts[7].w2, 2, 95), stored(*file, expert + "w2.weight", 2 * 96 + 95));
  EXPECT_EQ(element(checkpoint.output(), 255, 0), stored(*file, "lm_head.weight", 255 * 64));
}

TEST(GoldenCheckpoint, FusedExpertsAreSlicesOfTheStack) {
  const Checkpoint checkpoint = open_golden("fused-f16");
  const auto file = SafetensorsFile::open(kGolden / "fused-f16/model.safetensors");
  ASSERT_TRUE(file.ok());
  constexpr int64_t kHidden = 64;
  constexpr int64_t kFfn = 80;
  const std::string gate_up = "model.layers.1.mlp.experts.gate_up_proj";  // [8, 2 * ffn, hidden]: w1, then w3
  const std::string down = "model.layers.1.mlp.experts.down_proj";        // [8, hidden, ffn]
  const MoeTensors moe = checkpoint.moe(1);
  for (const int64_t e : {0, 3, 7}) {
    const ExpertTensors& expert = moe.experts[static_cast<size_t>(e)];
    EXPECT_EQ(element(expert.w1, 11, 5), stored(*file, gate_up, (e * 2 * kFfn + 11) * kHidden + 5));
    EXPECT_EQ(element(expert.w3, 11, 5), stored(*file, gate_up, (e * 2 * kFfn + kFfn + 11) * kHidden + 5));
    EXPECT_EQ(element(expert.w2, 63, 79), stored(*file, down, (e * kHidden + 63) * kFfn + 79));
  }
  EXPECT_EQ(element(moe.gate, 7, 1), stored(*file, "model.layers.1.mlp.gate.weight", 7 * kHidden + 1));
}

TEST(GoldenCheckpoint, NativeQueryAndKeyRowsComeInHalves) {
  const Checkpoint checkpoint = open_golden("native-bf16");
  const auto file = SafetensorsFile::open(kGolden / "native-bf16/consolidated.safetensors");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(checkpoint.config().rope_pairs, RopePairs::kNeighbours);
  constexpr int64_t kHidden = 96;
  constexpr int64_t kHeadDim = 16;
  const AttentionTensors attention = checkpoint.attention(1);
  for (const int64_t head : {0, 1}) {
    for (int64_t i = 0; i < kHeadDim / 2; ++i) {
      const int64_t first = head * kHeadDim + i;
      const int64_t stored_first = (head * kHeadDim + 2 * i) * kHidden;
      for (const int64_t half : {0, 1}) {
        EXPECT_EQ(element(attention.q, first + half * kHeadDim / 2, 5),
                  stored(*file, "layers.1.attention.wq.weight", stored_first + half * kHidden + 5));
        EXPECT_EQ(element(attention.k, first + half * kHeadDim / 2, 5),
                  stored(*file, "layers.1.attention.wk.weight", stored_first + half * kHidden + 5));
      }
    }
  }
  EXPECT_EQ(element(attention.v, 3, 5), stored(*file, "layers.1.attention.wv.weight", 3 * kHidden + 5));
  EXPECT_EQ(element(attention.o, 3, 5), stored(*file, "layers.1.attention.wo.weight", 3 * kHidden + 5));
}

TEST(GoldenCheckpoint, ConfigurationsAreRead) {
  const ModelConfig odd = open_golden("odd-bf16-sharded").config();
  EXPECT_EQ(odd.head_dim, 20);
  EXPECT_EQ(odd.num_kv_heads, 3);
  const ModelConfig window = open_golden("window-bf16").config();
  EXPECT_EQ(window.sliding_window, 8);
  EXPECT_EQ(window.head_dim, 16);  // absent: hidden 64 / 4 heads
  const ModelConfig tied = open_golden("six-experts-top3-tied").config();
  EXPECT_TRUE(tied.tie_embeddings);
  EXPECT_EQ(tied.experts_per_token, 3);
  EXPECT_EQ(tied.rope_theta, 10000.0);
  EXPECT_EQ(tied.rms_norm_eps, 1e-6F);
  EXPECT_THAT(tied.eos_ids, ElementsAre(2, 5));
  const ModelConfig native = open_golden("native-bf16").config();
  EXPECT_EQ(native.rope_theta, 1e6);  // absent
  EXPECT_EQ(native.num_experts, 8);
  EXPECT_EQ(native.rms_norm_eps, 1e-5F);
}

TEST(GoldenCheckpoint, TiedOutputIsTheEmbedding) {
  const Checkpoint checkpoint = open_golden("six-experts-top3-tied");
  EXPECT_EQ(checkpoint.output().data, checkpoint.embedding().data);
  const Checkpoint untied = open_golden("plain-f32");
  EXPECT_NE(untied.output().data, untied.embedding().data);
}

TEST(GoldenCheckpoint, TheDemoModelBringsItsSamplingDefaults) {
  const auto checkpoint = Checkpoint::open(OCTET_SOURCE_DIR "/configs/models/octet-demo");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ(checkpoint->generation_defaults().temperature, 0.7);
  EXPECT_EQ(checkpoint->generation_defaults().top_p, 0.95);
  EXPECT_EQ(checkpoint->generation_defaults().top_k, 0);
  EXPECT_THAT(checkpoint->config().eos_ids, ElementsAre(2));
}

TEST(GoldenCheckpoint, DroppedPagesReadTheSameAgain) {
  const Checkpoint checkpoint = open_golden("native-bf16");
  const MatrixSource q = checkpoint.attention(0).q;
  const float before = element(q, 7, 7);
  Checkpoint::drop_pages(q);
  Checkpoint::drop_pages(checkpoint.embedding());
  EXPECT_EQ(element(q, 7, 7), before);
}

}  // namespace
}  // namespace octet
