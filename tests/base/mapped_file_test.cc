#include "runtime/base/mapped_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace octet {
namespace {

using testing::HasSubstr;

class MappedFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "octet-test-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path write(const std::string& text, const char* name = "file") {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }

  std::filesystem::path folder_;
};

TEST_F(MappedFileTest, HoldsTheFilesBytes) {
  const auto file = MappedFile::open(write("some text"));
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->text(), "some text");
  EXPECT_EQ(file->bytes().size(), 9U);
}

TEST_F(MappedFileTest, AnEmptyFileHasNoBytes) {
  const auto file = MappedFile::open(write(""));
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_TRUE(file->bytes().empty());
}

TEST_F(MappedFileTest, BytesStayWhereTheyAreWhenMoved) {
  auto file = MappedFile::open(write("some text"));
  ASSERT_TRUE(file.ok());
  const std::byte* before = file->bytes().data();
  MappedFile moved = *std::move(file);
  MappedFile assigned = *MappedFile::open(write("other", "another"));
  assigned = std::move(moved);
  EXPECT_EQ(assigned.bytes().data(), before);
  EXPECT_EQ(assigned.text(), "some text");
}

TEST_F(MappedFileTest, WhatCannotBeMappedIsNamed) {
  const auto missing = MappedFile::open(folder_ / "missing");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.status().code(), StatusCode::kInvalidInput);
  EXPECT_EQ(missing.status().message(), (folder_ / "missing").string() + ": No such file or directory");
  const auto folder = MappedFile::open(folder_);
  ASSERT_FALSE(folder.ok());
  EXPECT_THAT(folder.status().message(), HasSubstr("not a regular file"));
}

}  // namespace
}  // namespace octet
