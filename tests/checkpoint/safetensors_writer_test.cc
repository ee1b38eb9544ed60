#include "runtime/checkpoint/safetensors_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "runtime/base/log.h"
#include "runtime/checkpoint/safetensors.h"
#include "tests/base/temp_folder.h"
#include "tests/checkpoint/checkpoint_builder.h"

namespace octet {
namespace {

using testing::ElementsAre;

std::vector<std::byte> stored_bytes(const SafetensorsFile& file, const std::string& name) {
  const StoredTensor* tensor = file.find(name);
  return tensor == nullptr
             ? std::vector<std::byte>()
             : std::vector<std::byte>(file.data(*tensor), file.data(*tensor) + tensor->end - tensor->begin);
}

TEST(SafetensorsWriter, WhatItWritesIsReadBack) {
  const TempFolder folder;
  std::mt19937 generator(7);
  std::map<std::string, TestTensor> tensors;
  tensors["a"] = random_tensor({3, 5}, DType::kF32, generator);
  tensors["b"] = random_tensor({7}, DType::kBF16, generator);
  tensors["quote \" and ünïcode"] = random_tensor({2, 1, 3}, DType::kF16, generator);
  tensors["nothing"] = random_tensor({4, 0}, DType::kF32, generator);
  write_tensors(folder / "x.safetensors", tensors);
  const auto file = SafetensorsFile::open(folder / "x.safetensors");
  ASSERT_TRUE(file.ok()) << file.status().message();
  ASSERT_EQ(file->tensors().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    ASSERT_NE(file->find(name), nullptr) << name;
    EXPECT_EQ(file->find(name)->dtype, tensor.dtype) << name;
    EXPECT_EQ(file->find(name)->shape, tensor.shape) << name;
    EXPECT_EQ(stored_bytes(*file, name), tensor.bytes) << name;
  }
}

TEST(SafetensorsWriter, TheDataBeginsAligned) {
  const TempFolder folder;
  for (const std::string name : {"a", "ab", "abc", "abcd"}) {
    Tensor tensor = Tensor::host(DType::kF32, {2});
    ASSERT_TRUE(write_safetensors(folder / name, std::vector<NamedTensor>{{name, tensor.view}}).ok());
    const auto file = SafetensorsFile::open(folder / name);
    ASSERT_TRUE(file.ok());
    EXPECT_EQ(file->tensors()[0].begin % 8, 0) << name;
  }
}

TEST(SafetensorsWriter, WritesViewsInOneCall) {
  const TempFolder folder;
  Tensor logits = Tensor::host(DType::kF32, {2, 3});
  for (int i = 0; i < 6; ++i) logits.view.as<float>()[i] = static_cast<float>(i) * 0.25F;
  Tensor ids = Tensor::host(DType::kI32, {2});
  ids.view.as<int32_t>()[1] = -7;
  ASSERT_TRUE(
      write_safetensors(folder / "x", std::vector<NamedTensor>{{"logits", logits.view}, {"ids", ids.view}}).ok());
  const auto file = SafetensorsFile::open(folder / "x");
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_THAT(file->find("logits")->shape, ElementsAre(2, 3));
  EXPECT_EQ(std::memcmp(file->data(*file->find("logits")), logits.view.data, 24), 0);
  EXPECT_EQ(file->find("ids")->dtype, DType::kI32);
  EXPECT_EQ(std::memcmp(file->data(*file->find("ids")), ids.view.data, 8), 0);
}

TEST(SafetensorsWriter, AFileAppearsOnlyWhenItIsWhole) {
  const TempFolder folder;
  write_file(folder / "x", "the file before");
  {
    auto writer = SafetensorsWriter::create(folder / "x", std::vector<TensorDeclaration>{{"a", DType::kF32, {2}}});
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE(writer->append(std::vector<std::byte>(4)).ok());
  }
  EXPECT_EQ(read_file(folder / "x"), "the file before");
  EXPECT_FALSE(std::filesystem::exists(folder / "x.partial"));
}

TEST(SafetensorsWriter, APathThatCannotBeWrittenIsAnError) {
  const TempFolder folder;
  const Status status = write_safetensors(folder / "missing" / "x", {});
  EXPECT_EQ(status.code(), StatusCode::kFailed);
  EXPECT_THAT(status.message(), testing::HasSubstr("missing/x.partial"));
}

TEST(SafetensorsWriterDeathTest, ByteCountsMustBeAsDeclared) {
  ASSERT_TRUE(init_log({.level = "error"}).ok());  // checks report on stderr
  const TempFolder folder;
  const std::vector<TensorDeclaration> declarations = {{"a", DType::kF32, {2}}};
  auto writer = SafetensorsWriter::create(folder / "x", declarations);
  ASSERT_TRUE(writer.ok());
  EXPECT_DEATH((void)writer->append(std::vector<std::byte>(9)), "more than declared");
  EXPECT_DEATH((void)writer->finish(), "8 bytes missing");
}

}  // namespace
}  // namespace octet
