// Lines of the log as those who read them find them: text and JSON, whatever is in a message.
#include "runtime/base/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>

#include "runtime/base/process_end.h"
#include "runtime/base/utf8.h"
#include "tests/base/temp_folder.h"

namespace octet {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace std::string_view_literals;

// What a process of its own writes to standard error.
std::vector<std::string> logged(const LogOptions& options, const std::function<void()>& speak) {
  const TempFolder folder;
  write_file(folder / "stderr", "");
  const pid_t child = ::fork();
  OCTET_CHECK(child >= 0);
  if (child == 0) {
    ::dup2(::open((folder / "stderr").c_str(), O_WRONLY | O_APPEND), STDERR_FILENO);
    if (!init_log(options).ok()) ::_exit(1);
    speak();
    set_process_end(_exit);
    end_process(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  std::vector<std::string> lines;
  std::istringstream stream(read_file(folder / "stderr"));
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// How a child ends that calls end_process(2), as waitpid() has it.
int status_of_end(void (*end)(int exit_code)) {
  const pid_t child = ::fork();
  OCTET_CHECK(child >= 0);
  if (child == 0) {
    set_process_end(end);
    end_process(2);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

TEST(Log, TheProcessEndsAsItsProgramSays) {
  const int said = status_of_end([](int exit_code) { ::_exit(exit_code + 40); });
  EXPECT_TRUE(WIFEXITED(said));
  EXPECT_EQ(WEXITSTATUS(said), 42);
  const int unsaid = status_of_end(nullptr);
  EXPECT_TRUE(WIFSIGNALED(unsaid));
  EXPECT_EQ(WTERMSIG(unsaid), SIGABRT);
}

void speak_of_a_request() {
  log_event(LogLevel::kInfo, {{"request", "octet-1"}, {"sample", 2}, {"finish", "stop"}, {"s", 0.25}});
  log_event(LogLevel::kWarning, {{"request", "a b"}}, "failed: too late");
  log_info("{} of {}", 3, 4);
}

TEST(Log, TextHasFieldsInFrontOfTheWords) {
  EXPECT_THAT(logged({.label = "octet rank 3", .rank = 3}, speak_of_a_request),
              ElementsAre("octet rank 3: request=octet-1 sample=2 finish=stop s=0.250",
                          "octet rank 3: request='a b' failed: too late", "octet rank 3: 3 of 4"));
}

TEST(Log, JsonHasThemAsMembersWithTheirTypes) {
  const auto lines = logged({.format = "json", .rank = 3}, speak_of_a_request);
  ASSERT_EQ(lines.size(), 3U);
  json first = json::parse(lines[0]);
  EXPECT_THAT(first["time"].get<std::string>(),
              ::testing::MatchesRegex("20[0-9-]+T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z"));
  first.erase("time");
  EXPECT_EQ(first, json({{"level", "info"},
                         {"rank", 3},
                         {"message", "request=octet-1 sample=2 finish=stop s=0.250"},
                         {"request", "octet-1"},
                         {"sample", 2},
                         {"finish", "stop"},
                         {"s", 0.25}}));
  EXPECT_EQ(json::parse(lines[1])["level"], "warn");
  EXPECT_EQ(json::parse(lines[2])["message"], "3 of 4");
}

TEST(Log, LevelsBelowTheAskedOneAreNotWritten) {
  const auto speak = [] {
    log_debug("d");
    log_info("i");
    log_warning("w");
    log_error("e");
  };
  EXPECT_THAT(logged({.level = "warn"}, speak), ElementsAre("octet: w", "octet: e"));
  EXPECT_THAT(logged({.level = "debug"}, speak), ElementsAre("octet: d", "octet: i", "octet: w", "octet: e"));
  EXPECT_THAT(logged({.level = "off"}, speak), ElementsAre());
}

TEST(Log, UnknownLevelsAndFormatsAreRefused) {
  EXPECT_EQ(init_log({.level = "loud"}).code(), StatusCode::kInvalidInput);
  EXPECT_THAT(init_log({.format = "xml"}).message(), HasSubstr("xml"));
}

// Whatever clients send, in a field or in words.
const std::vector<std::string_view> kHostile = {"x\noctet: rank 1 (host b) died: y",
                                                "a\0b"sv,
                                                "\xff\xfe\x80",
                                                "--------------------------------------------------------------",
                                                "\x1b[2J\x9b\x31m",
                                                "\xc2\x9b"
                                                "2J",
                                                "\xe2\x80\xa8line",
                                                "\xe2\x80\xaetxet",
                                                "'; quote \" \\",
                                                ""};

void speak_hostile() {
  for (const std::string_view text : kHostile) {
    log_event(LogLevel::kInfo, {{"request", text}}, text);
    log_info("{}", text);
  }
}

bool is_harmless(std::string_view line) {
  while (!line.empty()) {
    const Utf8Prefix prefix = utf8_prefix(line);
    const std::string_view character = line.substr(0, prefix.num_bytes);
    line.remove_prefix(prefix.num_bytes);
    const auto first = static_cast<unsigned char>(character[0]);
    if (prefix.kind != Utf8Kind::kComplete || first < 0x20 || first == 0x7f) return false;
    if (first == 0xc2 && static_cast<unsigned char>(character[1]) < 0xa0) return false;
    if (character == "\xe2\x80\xa8" || character == "\xe2\x80\xae") return false;
  }
  return true;
}

TEST(Log, HostileTextStaysInItsLine) {
  const auto lines = logged({}, speak_hostile);
  ASSERT_EQ(lines.size(), 2 * kHostile.size());
  for (const std::string& line : lines) {
    EXPECT_TRUE(line.starts_with("octet: ")) << line;
    EXPECT_TRUE(is_harmless(line)) << line;
  }
  EXPECT_EQ(lines[0], R"(octet: request='x\x0aoctet: rank 1 (host b) died: y' x\x0aoctet: rank 1 (host b) died: y)");
  EXPECT_EQ(lines[2], R"(octet: request='a\x00b' a\x00b)");
}

TEST(Log, HostileTextIsAStringOfJson) {
  const auto lines = logged({.format = "json"}, speak_hostile);
  ASSERT_EQ(lines.size(), 2 * kHostile.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_TRUE(is_harmless(lines[i])) << lines[i];
    const json object = json::parse(lines[i]);
    const std::string_view text = kHostile[i / 2];
    if (i % 2 == 0 && !text.empty() && is_valid_utf8(text)) {
      EXPECT_EQ(object["request"], text);
    }
    EXPECT_EQ(object.size(), i % 2 == 0 && !text.empty() ? 5U : 4U);  // an empty string is no fact
  }
}

TEST(Log, AnyBytesStayInTheirLine) {
  std::mt19937 random(7);
  std::vector<std::string> texts;
  for (int i = 0; i < 500; ++i) {
    std::string text(random() % 40, '\0');
    for (char& c : text) c = static_cast<char>(random());
    texts.push_back(text);
  }
  for (const char* format : {"text", "json"}) {
    const auto lines = logged({.format = format}, [&] {
      for (const std::string& text : texts) log_event(LogLevel::kError, {{"request", text}}, text);
    });
    ASSERT_EQ(lines.size(), texts.size()) << format;
    for (const std::string& line : lines) EXPECT_TRUE(is_harmless(line)) << line;
  }
}

TEST(Log, LongTextIsCut) {
  const std::string huge(100'000, 'z');
  for (const char* format : {"text", "json"}) {
    const auto lines = logged({.format = format}, [&] { log_event(LogLevel::kInfo, {{"request", huge}}, huge); });
    ASSERT_EQ(lines.size(), 1U);
    EXPECT_LT(lines[0].size(), 20'000U);
    EXPECT_THAT(lines[0], HasSubstr("..."));
  }
}

TEST(Log, LinesOfOthersArePassedOn) {
  const auto speak = [] { pass_on_lines("[node:1] mpirun says\x01 so\n{\"level\":\"info\"}\n", "launcher"); };
  EXPECT_THAT(logged({}, speak), ElementsAre("[node:1] mpirun says\x01 so", "{\"level\":\"info\"}"));
  const auto lines = logged({.format = "json"}, speak);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(json::parse(lines[0])["message"], "[node:1] mpirun says\\x01 so");
  EXPECT_EQ(json::parse(lines[0])["source"], "launcher");
  EXPECT_EQ(lines[1], "{\"level\":\"info\"}");
}

TEST(Log, AFailedCheckIsToldBeforeTheEnd) {
  EXPECT_DEATH(OCTET_CHECK(1 == 2, "number {}", 5), "check failed: 1 == 2: number 5");
}

}  // namespace
}  // namespace octet
