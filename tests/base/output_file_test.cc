// Files that are written: whole or not at all, by one process at a time, never through somebody's link.
#include "runtime/base/output_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <functional>

#include "runtime/base/read_file.h"
#include "tests/base/temp_folder.h"

namespace octet {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

class OutputFile : public ::testing::Test {
 protected:
  // What a process of its own says of a file: other processes have other locks, and limits of their own.
  static bool in_another_process(const std::function<bool()>& holds) {
    const pid_t child = ::fork();
    OCTET_CHECK(child >= 0);
    if (child == 0) ::_exit(holds() ? 0 : 1);
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
  // No file may grow beyond so many bytes: what a full disk is to a process.
  static void limit_files(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, bytes};
    OCTET_CHECK(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  }
  std::vector<std::string> names() const {
    const auto paths = files_of_folder(folder_.path());
    OCTET_CHECK(paths.ok());
    std::vector<std::string> names;
    for (const fs::path& path : *paths) names.push_back(path.filename());
    return names;
  }

  TempFolder folder_;
  const fs::path path_ = folder_ / "out";
};

TEST_F(OutputFile, AppearsWholeUnderItsName) {
  write_file(path_, "before");
  ASSERT_EQ(::chmod(path_.c_str(), 0640), 0);
  {
    auto file = NewFile::create(path_);
    ASSERT_TRUE(file.ok()) << file.status().message();
    ASSERT_TRUE(file->write("after").ok());
    EXPECT_EQ(read_file(path_), "before");
    ASSERT_TRUE(file->commit().ok());
  }
  EXPECT_EQ(read_file(path_), "after");
  struct stat info {};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640U) << "who may read it stays";
  EXPECT_THAT(names(), ::testing::ElementsAre("out"));
}

TEST_F(OutputFile, UnfinishedLeavesWhatWasThere) {
  write_file(path_, "before");
  {
    auto file = NewFile::create(path_);
    ASSERT_TRUE(file.ok() && file->write(std::string(1 << 20, 'x')).ok());
  }
  EXPECT_EQ(read_file(path_), "before");
  EXPECT_THAT(names(), ::testing::ElementsAre("out"));
}

TEST_F(OutputFile, LargeAndSmallPiecesComeInOrder) {
  std::string expected;
  auto file = NewFile::create(path_);
  ASSERT_TRUE(file.ok());
  for (int i = 0; i < 40; ++i) {
    const std::string piece(static_cast<size_t>(1) << (i % 20), static_cast<char>('a' + i % 26));
    expected += piece;
    ASSERT_TRUE(file->write(piece).ok());
  }
  ASSERT_TRUE(file->commit().ok());
  EXPECT_TRUE(read_file(path_) == expected);
}

// Somebody who may write to the folder has put something in the place of the file that is written first.
TEST_F(OutputFile, IsNotWrittenThroughWhatSomebodyPlanted) {
  write_file(folder_ / "treasure", "gold");
  fs::create_symlink(folder_ / "treasure", folder_ / "out.partial");
  EXPECT_THAT(write_whole_file(path_, "x").message(), AllOf(HasSubstr("out.partial"), HasSubstr("symbolic link")));
  fs::remove(folder_ / "out.partial");
  fs::create_hard_link(folder_ / "treasure", folder_ / "out.partial");
  EXPECT_THAT(write_whole_file(path_, "x").message(), AllOf(HasSubstr("out.partial"), HasSubstr("something else")));
  fs::remove(folder_ / "out.partial");
  ASSERT_EQ(::mkfifo((folder_ / "out.partial").c_str(), 0600), 0);
  EXPECT_EQ(write_whole_file(path_, "x").code(), StatusCode::kFailed);
  fs::remove(folder_ / "out.partial");
  fs::create_symlink(folder_ / "nothing", path_);
  EXPECT_THAT(write_whole_file(path_, "x").message(), HasSubstr("a link to nothing"));
  EXPECT_THAT(GrowingFile::open(path_).status().message(), HasSubstr("a link to nothing"));
  EXPECT_EQ(read_file(folder_ / "treasure"), "gold");
  EXPECT_FALSE(fs::exists(folder_ / "nothing"));
}

TEST_F(OutputFile, ALinkOfItsUserIsFollowedToItsFile) {
  fs::create_directory(folder_ / "disk");
  write_file(folder_ / "disk/real", "before");
  fs::create_symlink(folder_ / "disk/real", path_);
  ASSERT_TRUE(write_whole_file(path_, "after").ok());
  EXPECT_TRUE(fs::is_symlink(path_));
  EXPECT_EQ(read_file(folder_ / "disk/real"), "after");
}

TEST_F(OutputFile, WhatAKilledRunLeftIsWrittenOver) {
  write_file(folder_ / "out.partial", "half a");
  ASSERT_TRUE(write_whole_file(path_, "whole").ok());
  EXPECT_EQ(read_file(path_), "whole");
  EXPECT_THAT(names(), ::testing::ElementsAre("out"));
}

TEST_F(OutputFile, IsOneProcesssAtATime) {
  auto file = NewFile::create(path_);
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(in_another_process([&] {
    const Status status = write_whole_file(path_, "theirs");
    return status.code() == StatusCode::kFailed && status.message().find("another process") != std::string::npos;
  }));
  ASSERT_TRUE(file->write("ours").ok() && file->commit().ok());
  EXPECT_EQ(read_file(path_), "ours");
}

TEST_F(OutputFile, AFullDiskIsAnErrorAndNothingOfBeforeIsLost) {
  write_file(path_, "before");
  EXPECT_TRUE(in_another_process([&] {
    limit_files(1 << 20);
    const Status status = write_whole_file(path_, std::string(2 << 20, 'x'));
    return status.code() == StatusCode::kFailed && status.message().find("File too large") != std::string::npos;
  }));
  EXPECT_EQ(read_file(path_), "before");
  EXPECT_THAT(names(), ::testing::ElementsAre("out"));
  EXPECT_THAT(write_whole_file("/dev/full", "x").message(), HasSubstr("No space left on device"));
}

TEST_F(OutputFile, FoldersAreRefused) {
  EXPECT_EQ(write_whole_file(folder_.path(), "x").code(), StatusCode::kInvalidInput);
  EXPECT_THAT(write_whole_file(folder_.path(), "x").message(), HasSubstr("Is a directory"));
  EXPECT_THAT(GrowingFile::open(folder_.path()).status().message(), HasSubstr("Is a directory"));
  EXPECT_THAT(write_whole_file(folder_ / "none/out", "x").message(), HasSubstr("none/out.partial"));
}

TEST_F(OutputFile, APipeIsWrittenThrough) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  const UniqueFd reader(::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  ASSERT_TRUE(write_whole_file(path_, "through").ok());
  std::array<char, 64> buffer{};
  EXPECT_EQ(std::string(buffer.data(), static_cast<size_t>(::read(reader.get(), buffer.data(), buffer.size()))),
            "through");
  EXPECT_TRUE(fs::is_fifo(path_));
  auto file = GrowingFile::open(path_);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(*file->read(), "") << "it is not waited for what nobody writes";
  ASSERT_TRUE(file->append("line").ok() && file->sync().ok());
  EXPECT_EQ(std::string(buffer.data(), static_cast<size_t>(::read(reader.get(), buffer.data(), buffer.size()))),
            "line\n");
  EXPECT_THAT(names(), ::testing::ElementsAre("out"));
}

TEST_F(OutputFile, GrowsByLines) {
  write_file(path_, "one\n");
  auto file = GrowingFile::open(path_);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(*file->read(), "one\n");
  ASSERT_TRUE(file->append("two").ok());
  ASSERT_TRUE(file->replace("ONE\n").ok());
  ASSERT_TRUE(file->append("three").ok() && file->sync().ok());
  EXPECT_EQ(read_file(path_), "ONE\nthree\n");
  EXPECT_TRUE(in_another_process([&] { return GrowingFile::open(path_).status().code() == StatusCode::kFailed; }))
      << "the file that took the old one's place is ours, too";
}

TEST_F(OutputFile, IsAnothersOnceItIsFree) {
  { ASSERT_TRUE(GrowingFile::open(path_).ok()); }
  EXPECT_TRUE(in_another_process([&] { return GrowingFile::open(path_).ok(); }));
}

TEST_F(OutputFile, ALineThatDoesNotFitLeavesTheOthers) {
  EXPECT_TRUE(in_another_process([&] {
    limit_files(1 << 12);
    auto file = GrowingFile::open(path_);
    if (!file.ok() || !file->append("short").ok()) return false;
    const Status status = file->append(std::string(1 << 13, 'x'));
    return status.code() == StatusCode::kFailed && status.message().find("cannot be written") != std::string::npos;
  }));
  EXPECT_EQ(read_file(path_), "short\n");
}

}  // namespace
}  // namespace octet
