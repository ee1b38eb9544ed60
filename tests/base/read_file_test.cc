#include "runtime/base/read_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <thread>

#include "runtime/base/unique_fd.h"
#include "tests/base/temp_folder.h"

namespace octet {
namespace {

using ::testing::HasSubstr;

class ReadFile : public ::testing::Test {
 protected:
  void expect_refused(const std::filesystem::path& path, const std::string& why, const ReadLimits& limits = {}) const {
    const auto text = read_whole_file(path, limits);
    ASSERT_FALSE(text.ok());
    EXPECT_EQ(text.status().code(), StatusCode::kInvalidInput);
    EXPECT_EQ(text.status().message(), path.string() + ": " + why);
  }

  TempFolder folder_;
};

TEST_F(ReadFile, ReadsFilesOfAnySize) {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{65535}, size_t{65536}, size_t{65537}, size_t{3} << 20}) {
    std::string text(size, '\0');
    for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 31 >> 3);
    write_file(folder_ / "f", text);
    const auto read = read_whole_file(folder_ / "f");
    ASSERT_TRUE(read.ok());
    EXPECT_TRUE(*read == text) << size;
  }
  EXPECT_THAT(*read_whole_file("/proc/self/status"), HasSubstr("VmRSS")) << "files without a size";
}

TEST_F(ReadFile, ReadsPipes) {
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  const std::string text(200'000, 'p');
  std::thread writer([&] { write_file(folder_ / "pipe", text); });
  const auto read = read_whole_file(folder_ / "pipe");
  writer.join();
  ASSERT_TRUE(read.ok());
  EXPECT_TRUE(*read == text);
}

TEST_F(ReadFile, WhatCannotBeReadIsNamed) {
  expect_refused(folder_.path(), "Is a directory");
  expect_refused(folder_ / "none", "no such file");
  write_file(folder_ / "f", "12345");
  expect_refused(folder_ / "f" / "g", "Not a directory");
  expect_refused(folder_ / "f", "5 bytes are more than the 4 that such a file may have", {.max_bytes = 4});
  expect_refused(folder_ / std::string(300, 'n'), "File name too long");
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  expect_refused(folder_ / "pipe", "not a regular file", {.kind = FileKind::kRegular});
  std::filesystem::create_symlink(folder_ / "loop", folder_ / "loop");
  expect_refused(folder_ / "loop", "Too many levels of symbolic links");
}

TEST_F(ReadFile, AStreamLongerThanTheLimitIsNotReadToItsEnd) {
  expect_refused("/dev/zero", "65536 bytes are more than the 100 that such a file may have", {.max_bytes = 100});
}

TEST_F(ReadFile, AFolderAsAnOpenDescriptorIsNoText) {
  const UniqueFd folder(::open(folder_.path().c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(read_descriptor(folder.get(), "standard input").status().message(), "standard input: Is a directory");
}

TEST_F(ReadFile, FoldersAreListedByName) {
  for (const char* name : {"b", "a", "c"}) write_file(folder_ / name, "");
  EXPECT_THAT(*files_of_folder(folder_.path()), ::testing::ElementsAre(folder_ / "a", folder_ / "b", folder_ / "c"));
  EXPECT_EQ(files_of_folder(folder_ / "a").status().code(), StatusCode::kInvalidInput);
  EXPECT_TRUE(file_exists(folder_ / "a"));
  EXPECT_FALSE(file_exists(folder_ / "a" / "x"));
  EXPECT_FALSE(file_exists(std::string(5000, 'n')));
}

}  // namespace
}  // namespace octet
