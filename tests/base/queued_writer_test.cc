// Writers that never wait: for a reader who is slow, who is late, who never comes.
#include "runtime/base/queued_writer.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <sstream>
#include <vector>

#include "runtime/base/check.h"
#include "runtime/base/unique_fd.h"

namespace octet {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;

constexpr size_t kSmallestPipe = 4096;

std::string say_lost(int64_t num_lines) { return std::to_string(num_lines) + " lost\n"; }

class QueuedWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::signal(SIGPIPE, SIG_IGN);
    std::array<int, 2> ends{};
    OCTET_CHECK(::pipe2(ends.data(), O_CLOEXEC) == 0);
    reader_ = UniqueFd(ends[0]);
    sink_ = UniqueFd(ends[1]);
    OCTET_CHECK(::fcntl(sink_.get(), F_SETPIPE_SZ, kSmallestPipe) == kSmallestPipe);
  }
  // Reads, a KiB at a time with a pause before it, until a line says `last`.
  std::vector<std::string> read_lines_until(const std::string& last, milliseconds pause = {}) {
    std::string text;
    std::array<char, 1024> buffer{};
    while (!text.ends_with("\n" + last + "\n") && text != last + "\n") {
      std::this_thread::sleep_for(pause);
      const ssize_t count = ::read(reader_.get(), buffer.data(), buffer.size());
      if (count <= 0) break;
      text.append(buffer.data(), static_cast<size_t>(count));
    }
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
  }
  // Has the writer's thread wait for a reader, in the middle of a text.
  void fill(QueuedWriter& writer) {
    writer.write(kLong + "\n");
    for (int bytes = 0; bytes < static_cast<int>(kSmallestPipe); ::usleep(1000)) {
      ASSERT_EQ(::ioctl(reader_.get(), FIONREAD, &bytes), 0);
    }
  }

  const std::string kLong = std::string(kSmallestPipe + 100, 'x');
  UniqueFd reader_, sink_;
};

TEST_F(QueuedWriterTest, WhatIsWrittenComesInOrder) {
  {
    QueuedWriter writer(sink_.get(), 1 << 20, say_lost);
    for (int i = 0; i < 100; ++i) writer.write(std::to_string(i) + "\n");
    EXPECT_TRUE(writer.flush(seconds(60), seconds(60)));
    EXPECT_TRUE(writer.idle());
  }
  const auto lines = read_lines_until("99");
  ASSERT_EQ(lines.size(), 100U);
  for (size_t i = 0; i < lines.size(); ++i) EXPECT_EQ(lines[i], std::to_string(i));
}

TEST_F(QueuedWriterTest, AReaderWhoNeverReadsIsNotWaitedFor) {
  QueuedWriter writer(sink_.get(), 1 << 12, say_lost);
  fill(writer);
  for (int i = 0; i < 100'000; ++i) writer.write("one more\n");
  EXPECT_FALSE(writer.idle());
  const auto before = std::chrono::steady_clock::now();
  EXPECT_FALSE(writer.flush(milliseconds(50), seconds(60)));
  EXPECT_LT(std::chrono::steady_clock::now() - before, seconds(30));
  reader_.reset();  // lets the writer end
}

TEST_F(QueuedWriterTest, TheOldestAreLostAndCountedOnceSomebodyReads) {
  std::vector<std::string> lines;
  std::thread late;
  const auto line = [](int i) { return std::to_string(i) + std::string(698, 'y'); };
  {
    QueuedWriter writer(sink_.get(), kLong.size() + 1, say_lost);  // room for two of the texts that follow
    fill(writer);
    for (int i = 10; i < 20; ++i) writer.write(line(i) + "\n" + line(i) + "\n");
    late = std::thread([&] { lines = read_lines_until(line(19) + "\n" + line(19)); });
  }
  late.join();
  EXPECT_THAT(lines, ElementsAre(kLong, "16 lost", line(18), line(18), line(19), line(19)));
}

TEST_F(QueuedWriterTest, ASlowReaderGetsEverythingWhileFlushWaits) {
  std::vector<std::string> lines;
  QueuedWriter writer(sink_.get(), 1 << 20, say_lost);
  fill(writer);
  for (int i = 0; i < 2000; ++i) writer.write("line " + std::to_string(i) + " of a log that somebody reads slowly\n");
  writer.write("the end\n");
  std::thread slow([&] { lines = read_lines_until("the end", milliseconds(5)); });
  EXPECT_TRUE(writer.flush(seconds(30), seconds(300)));
  slow.join();
  EXPECT_EQ(lines.size(), 2002U);
  EXPECT_EQ(lines.back(), "the end");
}

TEST_F(QueuedWriterTest, ADescriptorMadeNonBlockingIsWaitedForByTheThread) {
  ASSERT_EQ(::fcntl(sink_.get(), F_SETFL, O_WRONLY | O_NONBLOCK), 0);
  std::vector<std::string> lines;
  {
    QueuedWriter writer(sink_.get(), 1 << 20, say_lost);
    fill(writer);
    std::thread late([&] { lines = read_lines_until(kLong); });
    EXPECT_TRUE(writer.flush(seconds(60), seconds(60)));
    late.join();
  }
  EXPECT_EQ(lines, std::vector<std::string>{kLong});
}

TEST_F(QueuedWriterTest, NobodyAtAllIsNoTrouble) {
  reader_.reset();
  QueuedWriter writer(sink_.get(), 1 << 20, say_lost);
  for (int i = 0; i < 1000; ++i) writer.write("to nobody\n");
  EXPECT_TRUE(writer.flush(seconds(60), seconds(60)));
}

TEST_F(QueuedWriterTest, ATextLongerThanTheQueueIsCut) {
  {
    QueuedWriter writer(sink_.get(), 10, say_lost);
    writer.write("0123456789abcdef\n");
  }
  EXPECT_THAT(read_lines_until("012345678"), ElementsAre("012345678"));
}

TEST_F(QueuedWriterTest, ManyThreadsWriteWholeLines) {
  std::vector<std::string> lines;
  {
    QueuedWriter writer(sink_.get(), 1 << 20, say_lost);
    std::thread reader([&] { lines = read_lines_until("done"); });
    std::vector<std::thread> threads;
    for (char c = 'a'; c < 'e'; ++c) {
      threads.emplace_back([&writer, c] {
        for (int i = 0; i < 500; ++i) writer.write(std::string(40, c) + "\n");
      });
    }
    for (std::thread& thread : threads) thread.join();
    writer.write("done\n");
    reader.join();
  }
  EXPECT_EQ(lines.size(), 2001U);
  for (const std::string& line : lines) {
    EXPECT_EQ(line.find_first_not_of(line[0]), line == "done" ? 1U : std::string::npos) << line;
  }
}

}  // namespace
}  // namespace octet
