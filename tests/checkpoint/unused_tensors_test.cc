// Tensors that no layer uses are passed over, with one line that counts them; what a layer uses is checked as ever.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/checkpoint/checkpoint.h"
#include "runtime/checkpoint/safetensors.h"
#include "runtime/model/shard_weights.h"
#include "tests/base/temp_folder.h"
#include "tests/checkpoint/checkpoint_builder.h"

namespace octet {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// A weight file like `folder`'s, with a tensor of `num_bytes` zeros behind the others.
void append_tensor(const std::filesystem::path& path, const std::string& name, const std::string& dtype,
                   const std::vector<int64_t>& shape, size_t num_bytes) {
  const std::string whole = read_file(path);
  uint64_t length = 0;
  std::memcpy(&length, whole.data(), sizeof(length));
  nlohmann::json header = nlohmann::json::parse(whole.substr(8, length));
  const std::string data = whole.substr(8 + length);
  header[name] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {data.size(), data.size() + num_bytes}}};
  const std::string text = header.dump();
  length = text.size();
  write_file(path, std::string(reinterpret_cast<const char*>(&length), 8) + text + data + std::string(num_bytes, '\0'));
}

struct Unused {
  const char* dtype;
  std::vector<int64_t> shape;
  size_t num_bytes;
};

TEST(UnusedTensors, OfEveryTypeOfTheFormatArePassedOver) {
  for (const Unused& unused : std::vector<Unused>{{"I64", {3}, 24},
                                                  {"U64", {}, 8},
                                                  {"F64", {2, 2}, 32},
                                                  {"C64", {1}, 8},
                                                  {"U32", {2}, 8},
                                                  {"I16", {5}, 10},
                                                  {"U16", {1}, 2},
                                                  {"U8", {7}, 7},
                                                  {"BOOL", {3}, 3},
                                                  {"F8_E4M3", {4}, 4},
                                                  {"F8_E5M2", {4}, 4},
                                                  {"F8_E8M0", {4}, 4},
                                                  {"F4", {3, 2}, 3},
                                                  {"F6_E2M3", {4}, 3},
                                                  {"I64", {0}, 0}}) {
    const TempFolder folder;
    make_checkpoint().write(folder.path());
    const auto path = folder / "model.safetensors";
    append_tensor(path, "model.extra", unused.dtype, unused.shape, unused.num_bytes);
    const auto opened = Checkpoint::open(folder.path());
    ASSERT_TRUE(opened.ok()) << unused.dtype << ": " << opened.status().message();
    EXPECT_THAT(opened->remarks(), ElementsAre(path.string() + ": 1 tensor that no layer uses is passed over"));
    EXPECT_EQ(common_matrix_format(*opened), DType::kBF16);
    for (const TensorListing& tensor : opened->tensors()) {
      EXPECT_EQ(tensor.is_used, tensor.name != "model.extra");
      EXPECT_EQ(tensor.dtype_text, tensor.is_used ? "BF16" : unused.dtype);
    }
  }
}

TEST(UnusedTensors, TheirPlaceInTheFileIsStillChecked) {
  const TempFolder folder;
  make_checkpoint().write(folder.path());
  append_tensor(folder / "model.safetensors", "model.extra", "I64", {3}, 23);
  EXPECT_THAT(Checkpoint::open(folder.path()).status().message(), HasSubstr("takes 24 bytes, data_offsets give 23"));
  make_checkpoint().write(folder.path());
  append_tensor(folder / "model.safetensors", "model.extra", "F4", {3}, 2);
  EXPECT_THAT(Checkpoint::open(folder.path()).status().message(), HasSubstr("no whole number of bytes"));
}

TEST(UnusedTensors, OfAUsedNameAreRefusedForTheirType) {
  for (const char* dtype : {"I64", "F64", "F8_E4M3", "U8", "BOOL"}) {
    const TempFolder folder;
    TestCheckpoint checkpoint = make_checkpoint();
    checkpoint.tensors.erase("model.norm.weight");
    checkpoint.write(folder.path());
    const size_t size = std::string(dtype).ends_with("64") ? 96 : 12;
    append_tensor(folder / "model.safetensors", "model.norm.weight", dtype, {12}, size);
    EXPECT_THAT(
        Checkpoint::open(folder.path()).status().message(),
        HasSubstr("tensor 'model.norm.weight' has dtype " + std::string(dtype) + "; weights are BF16, F16 or F32"));
  }
}

TEST(UnusedTensors, AWholeCheckpointIsNotRemarkedUpon) {
  const TempFolder folder;
  make_checkpoint().write(folder.path());
  EXPECT_THAT(Checkpoint::open(folder.path())->remarks(), IsEmpty());
}

class UnusedInShards : public testing::Test {
 protected:
  void SetUp() override {
    checkpoint_.num_shards = 3;
    checkpoint_.write(folder_.path());
    index_ = nlohmann::json::parse(read_file(path_));
  }
  Result<Checkpoint> open() {
    write_file(path_, index_.dump());
    return Checkpoint::open(folder_.path());
  }

  TempFolder folder_;
  const std::filesystem::path path_ = folder_ / "model.safetensors.index.json";
  TestCheckpoint checkpoint_ = make_checkpoint();
  nlohmann::json index_;
};

TEST_F(UnusedInShards, ListedButNowhereArePassedOver) {
  index_["weight_map"]["value_head.weight"] = "model-00001-of-00003.safetensors";
  index_["weight_map"]["value_head.bias"] = "value_head.safetensors";  // a shard that is not there
  const auto opened = open();
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_THAT(opened->remarks(), ElementsAre(path_.string() + ": 2 tensors that no layer uses are passed over"));
}

TEST_F(UnusedInShards, OfTwoThatStandInTwoShardsTheIndexSaysWhich) {
  // The copy in another shard has other numbers: that of the index counts.
  const std::string said = index_["weight_map"]["model.norm.weight"];
  for (const int shard : {1, 2, 3}) {
    const std::string name = fmt::format("model-{:05}-of-00003.safetensors", shard);
    if (name == said) continue;
    append_tensor(folder_ / name, "model.norm.weight", "BF16", {12}, 24);
  }
  const auto opened = open();
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_THAT(opened->remarks(), ElementsAre(path_.string() + ": 2 tensors that no layer uses are passed over"));
  EXPECT_EQ(std::memcmp(opened->final_norm().data, checkpoint_.tensors["model.norm.weight"].bytes.data(), 24), 0);
}

TEST_F(UnusedInShards, InTwoShardsThatTheIndexDoesNotListIsAnErrorOfUsedOnesAlone) {
  append_tensor(folder_ / "model-00001-of-00003.safetensors", "model.extra", "F32", {2}, 8);
  append_tensor(folder_ / "model-00002-of-00003.safetensors", "model.extra", "F32", {3}, 12);
  EXPECT_TRUE(open().ok());
  const std::string said = index_["weight_map"]["model.norm.weight"];
  append_tensor(folder_ / (said.find("00001") != std::string::npos ? "model-00002-of-00003.safetensors"
                                                                   : "model-00001-of-00003.safetensors"),
                "model.norm.weight", "BF16", {12}, 24);
  index_["weight_map"].erase("model.norm.weight");
  EXPECT_THAT(open().status().message(), HasSubstr("tensor 'model.norm.weight' is also in model-0000"));
}

}  // namespace
}  // namespace octet
