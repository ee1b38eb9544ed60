// Damaged and malicious checkpoints: each ends with one line that names the file and the reason, and kInvalidInput.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <limits>

#include "runtime/checkpoint/check_weights.h"
#include "runtime/checkpoint/checkpoint.h"
#include "tests/checkpoint/checkpoint_builder.h"
#include "tests/checkpoint/hostile_fixture.h"

namespace octet {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class HostileModel : public HostileCheckpoint {
 protected:
  // A valid checkpoint with one value of its configuration changed.
  void expect_config_refused(const char* key, const nlohmann::json& value, const std::string& reason) {
    TestCheckpoint checkpoint = make_checkpoint();
    checkpoint.config[key] = value;
    checkpoint.write(folder_.path());
    expect_refused("config.json", reason);
  }
};

TEST_F(HostileModel, TheUndamagedCheckpointsOpen) {
  for (const TestLayout layout : {TestLayout::kPerExpert, TestLayout::kFused, TestLayout::kNative}) {
    for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
      const TempFolder folder;
      make_checkpoint(tiny_config(), layout, dtype).write(folder.path());
      const auto checkpoint = Checkpoint::open(folder.path());
      EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    }
  }
}

// Weights against the configuration.

TEST_F(HostileModel, WeightOfAnotherDtype) {
  for (const DType dtype : {DType::kI32, DType::kI8}) {
    TestCheckpoint checkpoint = make_checkpoint();
    TestTensor& gate = checkpoint.tensors["model.layers.1.block_sparse_moe.gate.weight"];
    gate = {dtype, gate.shape, std::vector<std::byte>(static_cast<size_t>(3 * 12 * dtype_size(dtype)))};
    checkpoint.write(folder_.path());
    expect_refused(kWeights,
                   "tensor 'model.layers.1.block_sparse_moe.gate.weight' has dtype " + std::string(dtype_name(dtype)));
  }
}

TEST_F(HostileModel, DtypesMayDifferFromTensorToTensorWhateverTheConfigSays) {
  TestCheckpoint checkpoint = make_checkpoint();
  checkpoint.config["torch_dtype"] = "float8";
  std::mt19937 generator(5);
  checkpoint.tensors["model.norm.weight"] = random_tensor({12}, DType::kF32, generator);
  checkpoint.tensors["model.layers.0.self_attn.q_proj.weight"] = random_tensor({16, 12}, DType::kF16, generator);
  checkpoint.write(folder_.path());
  const auto opened = Checkpoint::open(folder_.path());
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_EQ(opened->final_norm().format, DType::kF32);
  EXPECT_EQ(opened->attention(0).q.format, DType::kF16);
  EXPECT_EQ(opened->attention(0).k.format, DType::kBF16);
}

// Each tensor of each layout, one at a time.
TEST_F(HostileModel, EveryMissingTensorIsNamed) {
  for (const TestLayout layout : {TestLayout::kPerExpert, TestLayout::kFused, TestLayout::kNative}) {
    const TestCheckpoint whole = make_checkpoint(tiny_config(), layout);
    for (const auto& [name, tensor] : whole.tensors) {
      const TempFolder folder;
      TestCheckpoint checkpoint = whole;
      checkpoint.tensors.erase(name);
      checkpoint.write(folder.path());
      const auto opened = Checkpoint::open(folder.path());
      ASSERT_FALSE(opened.ok()) << name;
      // Without the tensor that tells fused experts from others, the missing one is a per-expert tensor.
      const bool told_by = name == "model.layers.0.mlp.experts.gate_up_proj";
      EXPECT_THAT(opened.status().message(),
                  AllOf(HasSubstr(".safetensors: tensor"), HasSubstr(told_by ? "layers.0.block_sparse_moe" : name),
                        HasSubstr("missing")));
    }
  }
}

TEST_F(HostileModel, EveryWrongShapeIsNamed) {
  for (const TestLayout layout : {TestLayout::kPerExpert, TestLayout::kFused, TestLayout::kNative}) {
    const TestCheckpoint whole = make_checkpoint(tiny_config(), layout);
    for (const auto& [name, tensor] : whole.tensors) {
      const TempFolder folder;
      TestCheckpoint checkpoint = whole;
      std::vector<int64_t> shape = tensor.shape;
      if (shape.size() == 1) {
        shape.push_back(1);
      } else {
        std::swap(shape.front(), shape.back());
      }
      if (shape == tensor.shape) shape.push_back(1);
      checkpoint.tensors[name].shape = shape;
      checkpoint.write(folder.path());
      const auto opened = Checkpoint::open(folder.path());
      ASSERT_FALSE(opened.ok()) << name;
      EXPECT_THAT(opened.status().message(),
                  AllOf(HasSubstr("tensor '" + name + "' has shape ["), HasSubstr("the configuration asks for [")));
    }
  }
}

TEST_F(HostileModel, ExtraTensorsAreTolerated) {
  TestCheckpoint checkpoint = make_checkpoint();
  std::mt19937 generator(5);
  checkpoint.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = random_tensor({2}, DType::kF32, generator);
  checkpoint.write(folder_.path());
  EXPECT_TRUE(Checkpoint::open(folder_.path()).ok());
}

TEST_F(HostileModel, NanAndInfinityAreFoundWhenAskedFor) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    for (const float value : {kNan, kInfinity, -kInfinity}) {
      TestCheckpoint checkpoint = make_checkpoint(tiny_config(), TestLayout::kPerExpert, dtype);
      checkpoint.tensors["model.layers.1.block_sparse_moe.experts.2.w2.weight"].set(11 * 10 + 3, value);
      checkpoint.write(folder_.path());
      const auto opened = Checkpoint::open(folder_.path());
      ASSERT_TRUE(opened.ok()) << opened.status().message();
      const Status status = check_finite(*opened);
      EXPECT_EQ(status.code(), StatusCode::kInvalidInput);
      EXPECT_THAT(status.message(), AllOf(HasSubstr(folder_.path().string()),
                                          HasSubstr("layer 1, expert 2 w2 is NaN or infinite at row 11, column 3")));
    }
  }
}

TEST_F(HostileModel, LargestFiniteWeightsPass) {
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    TestCheckpoint checkpoint = make_checkpoint(tiny_config(), TestLayout::kPerExpert, dtype);
    for (auto& [name, tensor] : checkpoint.tensors) tensor.set(0, dtype == DType::kF16 ? 65504.0F : -3.3e38F);
    checkpoint.write(folder_.path());
    const auto opened = Checkpoint::open(folder_.path());
    ASSERT_TRUE(opened.ok());
    EXPECT_TRUE(check_finite(*opened).ok());
  }
}

// The configuration.

TEST_F(HostileModel, HeadsNotDivisible) {
  expect_config_refused("num_key_value_heads", 3,
                        "num_attention_heads is 4; it must be a multiple of num_key_value_heads, which is 3");
}

TEST_F(HostileModel, NoExperts) {
  expect_config_refused("num_local_experts", 0, "num_local_experts is 0; it must be an integer from 1 to 1024");
}

TEST_F(HostileModel, ABillionLayers) {
  expect_config_refused("num_hidden_layers", 1'000'000'000, "num_hidden_layers is 1000000000");
}

TEST_F(HostileModel, OneLayerMoreThanTheWeightsHave) {
  TestCheckpoint checkpoint = make_checkpoint();
  checkpoint.config["num_hidden_layers"] = 3;
  checkpoint.write(folder_.path());
  expect_refused(kWeights, "tensor 'model.layers.2.input_layernorm.weight' is missing");
}

TEST_F(HostileModel, ConfigIsDamaged) {
  make_checkpoint().write(folder_.path());
  write_file(folder_ / "config.json", "{\"hidden_size\": ");
  expect_refused("config.json", "not valid JSON");
}

TEST_F(HostileModel, ConfigIsHuge) {
  make_checkpoint().write(folder_.path());
  write_file(folder_ / "config.json", std::string((1 << 20) + 1, ' '));
  expect_refused("config.json", "over the limit");
}

TEST_F(HostileModel, ConfigIsAFolder) {
  make_checkpoint().write(folder_.path());
  std::filesystem::remove(folder_ / "config.json");
  std::filesystem::create_directory(folder_ / "config.json");
  expect_refused("config.json", "not a regular file");
}

TEST_F(HostileModel, ConfigIsMissing) {
  make_checkpoint().write(folder_.path());
  std::filesystem::remove(folder_ / "config.json");
  expect_refused("config.json", "missing");
}

TEST_F(HostileModel, ParamsAreMissing) {
  make_checkpoint(tiny_config(), TestLayout::kNative).write(folder_.path());
  std::filesystem::remove(folder_ / "params.json");
  expect_refused("params.json", "missing");
}

TEST_F(HostileModel, ParamsAreDamaged) {
  TestCheckpoint checkpoint = make_checkpoint(tiny_config(), TestLayout::kNative);
  checkpoint.config["moe"]["num_experts_per_tok"] = 4;
  checkpoint.write(folder_.path());
  expect_refused("params.json", "num_experts_per_tok is 4; it must be at most num_experts, which is 3");
}

TEST_F(HostileModel, GenerationConfigIsDamaged) {
  TestCheckpoint checkpoint = make_checkpoint();
  checkpoint.generation = {{"temperature", -1}};
  checkpoint.write(folder_.path());
  expect_refused("generation_config.json", "temperature is -1");
}

// Files.

TEST_F(HostileModel, NoSuchFolder) {
  const auto checkpoint = Checkpoint::open(folder_ / "nowhere");
  ASSERT_FALSE(checkpoint.ok());
  EXPECT_EQ(checkpoint.status().code(), StatusCode::kInvalidInput);
  EXPECT_THAT(checkpoint.status().message(), AllOf(HasSubstr("nowhere"), HasSubstr("No such file")));
}

TEST_F(HostileModel, EmptyFolder) {
  const auto checkpoint = Checkpoint::open(folder_.path());
  ASSERT_FALSE(checkpoint.ok());
  EXPECT_EQ(checkpoint.status().code(), StatusCode::kInvalidInput);
  EXPECT_EQ(checkpoint.status().message(),
            folder_.path().string() + ": not a checkpoint: neither config.json nor params.json is there");
}

TEST_F(HostileModel, NoWeights) {
  make_checkpoint().write(folder_.path());
  std::filesystem::remove(folder_ / kWeights);
  const auto checkpoint = Checkpoint::open(folder_.path());
  ASSERT_FALSE(checkpoint.ok());
  EXPECT_EQ(checkpoint.status().code(), StatusCode::kInvalidInput);
  EXPECT_THAT(checkpoint.status().message(), AllOf(HasSubstr(folder_.path().string()), HasSubstr("no weights")));
}

TEST_F(HostileModel, PickleFilesAreRefused) {
  for (const char* name : {"pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "consolidated.00.pth"}) {
    const TempFolder folder;
    write_file(folder / "config.json", hf_config_json(tiny_config()).dump());
    write_file(folder / name, "\x80\x04\x95");
    const auto checkpoint = Checkpoint::open(folder.path());
    ASSERT_FALSE(checkpoint.ok());
    EXPECT_EQ(checkpoint.status().code(), StatusCode::kInvalidInput);
    EXPECT_THAT(checkpoint.status().message(),
                AllOf(HasSubstr((folder / name).string()), HasSubstr("convert the checkpoint to safetensors")));
  }
}

TEST_F(HostileModel, APickleFileBesideSafetensorsIsIgnored) {
  make_checkpoint().write(folder_.path());
  write_file(folder_ / "pytorch_model.bin", "\x80\x04\x95");
  EXPECT_TRUE(Checkpoint::open(folder_.path()).ok());
}

TEST_F(HostileModel, WeightsAreANamedPipe) {
  make_checkpoint().write(folder_.path());
  std::filesystem::remove(folder_ / kWeights);
  ASSERT_EQ(::mkfifo((folder_ / kWeights).c_str(), 0600), 0);
  expect_refused(kWeights, "not a regular file");
}

TEST_F(HostileModel, WeightsAreALinkToNowhere) {
  make_checkpoint().write(folder_.path());
  std::filesystem::remove(folder_ / kWeights);
  std::filesystem::create_symlink("gone", folder_ / kWeights);
  expect_refused(kWeights, "No such file");
}

// Shards and their index.

class HostileShards : public HostileCheckpoint {
 protected:
  static constexpr const char* kIndex = "model.safetensors.index.json";
  static constexpr const char* kFirst = "model-00001-of-00003.safetensors";
  static constexpr const char* kSecond = "model-00002-of-00003.safetensors";

  void SetUp() override {
    checkpoint_ = make_checkpoint();
    checkpoint_.num_shards = 3;
    checkpoint_.write(folder_.path());
    index_ = nlohmann::json::parse(read_file(folder_ / kIndex));
  }

  void write_index() { write_file(folder_ / kIndex, index_.dump()); }

  TestCheckpoint checkpoint_;
  nlohmann::json index_;
};

TEST_F(HostileShards, UndamagedShardsOpen) { EXPECT_TRUE(Checkpoint::open(folder_.path()).ok()); }

TEST_F(HostileShards, MissingShard) {
  std::filesystem::remove(folder_ / kSecond);
  expect_refused(kSecond, "No such file");
}

TEST_F(HostileShards, DamagedShardIsNamed) {
  const std::string whole = read_file(folder_ / kSecond);
  write_file(folder_ / kSecond, std::string_view(whole).substr(0, whole.size() - 1));
  expect_refused(kSecond, "ends at byte");
}

TEST_F(HostileShards, IndexLeavesTheFolder) {
  for (const char* path : {"../model.safetensors", "x/../../model.safetensors", "/etc/model.safetensors",
                           "sub/model.safetensors", "..", ""}) {
    index_["weight_map"]["model.norm.weight"] = path;
    write_index();
    expect_refused(kIndex, "tensor 'model.norm.weight': shard '" + std::string(path) + "' is not the plain name");
  }
}

TEST_F(HostileShards, IndexWithNulInAShardsName) {
  index_["weight_map"]["model.norm.weight"] = std::string("a\0.safetensors", 14);
  write_index();
  expect_refused(kIndex, R"(shard 'a\x00.safetensors' is not the plain name)");
}

TEST_F(HostileShards, IndexListsATensorThatIsNowhere) {
  const std::string shard = index_["weight_map"]["lm_head.weight"];
  std::map<std::string, TestTensor> others;
  for (const auto& [name, file] : index_["weight_map"].items()) {
    if (file == shard && name != "lm_head.weight") others[name] = checkpoint_.tensors[name];
  }
  write_tensors(folder_ / shard, others);
  expect_refused(shard, "tensor 'lm_head.weight' is missing");
}

TEST_F(HostileShards, TensorIsInAnotherShard) {
  const std::string shard = index_["weight_map"]["lm_head.weight"];
  index_["weight_map"]["lm_head.weight"] = shard == kFirst ? kSecond : kFirst;
  write_index();
  expect_refused(kIndex, "tensor 'lm_head.weight' is in " + shard);
}

TEST_F(HostileShards, TensorInTwoShards) {
  for (const char* shard : {kFirst, kSecond}) {
    write_tensors(folder_ / shard, checkpoint_.tensors);
  }
  EXPECT_TRUE(Checkpoint::open(folder_.path()).ok());  // the index says which
  index_["weight_map"].erase("lm_head.weight");
  write_index();
  expect_refused(kSecond, std::string("is also in ") + kFirst);
}

TEST_F(HostileShards, IndexNamesATensorTwice) {
  write_file(folder_ / kIndex, std::string(R"({"weight_map":{"a":")") + kFirst + R"(","a":")" + kSecond + R"("}})");
  expect_refused(kIndex, "key 'a' is given twice");
}

TEST_F(HostileShards, IndexWithoutAMap) {
  write_file(folder_ / kIndex, "{}");
  expect_refused(kIndex, "weight_map is missing");
  write_file(folder_ / kIndex, R"({"weight_map":[]})");
  expect_refused(kIndex, "weight_map is []; it must be an object");
  write_file(folder_ / kIndex, R"({"weight_map":{"a":1}})");
  expect_refused(kIndex, "the shard is not a string");
}

TEST_F(HostileShards, IndexNotJson) {
  write_file(folder_ / kIndex, "weight_map");
  expect_refused(kIndex, "not valid JSON");
}

TEST_F(HostileShards, IndexDeeplyNested) {
  write_file(folder_ / kIndex, R"({"a":)" + std::string(1'000'000, '['));
  expect_refused(kIndex, "nested deeper than 32");
}

TEST_F(HostileModel, NativeTensorInTwoFiles) {
  TestCheckpoint checkpoint = make_checkpoint(tiny_config(), TestLayout::kNative);
  checkpoint.write(folder_.path());
  std::filesystem::rename(folder_ / "consolidated.safetensors", folder_ / "consolidated.00.safetensors");
  ASSERT_TRUE(Checkpoint::open(folder_.path()).ok());
  std::filesystem::copy(folder_ / "consolidated.00.safetensors", folder_ / "consolidated.01.safetensors");
  expect_refused("consolidated.01.safetensors", "is also in consolidated.00.safetensors");
}

}  // namespace
}  // namespace octet
