// Standard error as a pipe that is full and that nobody reads, or somebody late: what commands do then.
#include <chrono>

#include "tests/launcher/unread_errors.h"

namespace octet::testing {
namespace {

using nlohmann::json;
using ::testing::EndsWith;
using ::testing::HasSubstr;

// The pipe has no room from the beginning.
constexpr const char* kFillPipe = "head -c 4096 /dev/zero >&2;";

TEST(FullPipe, NobodyIsWaitedFor) {
  const std::vector<std::string> arguments = {"generate", "In the", "--temperature", "0", "--max-tokens", "9"};
  const std::string expected = output_of(arguments);
  const UnreadErrors errors;
  const auto start = std::chrono::steady_clock::now();
  const Outcome outcome = run_octet(arguments, errors.launch(kFillPipe));
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.out, expected);
  EXPECT_EQ(errors.num_unread(), 4096);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::minutes(1));
}

TEST(FullPipe, AFailureEndsWithItsExitCode) {
  const UnreadErrors errors;
  EXPECT_EQ(run_octet({"generate", "x", "--model", "/nowhere"}, errors.launch(kFillPipe)).exit_code, 2);
}

TEST(FullPipe, TheLastLinesComeForWhoReadsThem) {
  UnreadErrors errors;
  RunningOctet octet({"generate", "x", "--model", "/nowhere"}, errors.launch(kFillPipe));
  while (errors.num_unread() < 4096 && !octet.has_ended()) ::usleep(1000);
  const std::string text = errors.read_to_end();
  EXPECT_EQ(octet.wait().exit_code, 2);
  EXPECT_THAT(text.substr(4096), HasSubstr("octet: /nowhere"));
}

TEST(LogFormat, JsonIsOneObjectALine) {
  const Outcome outcome = run_octet({"generate", "In the", "--max-tokens", "3", "--log-format", "json"});
  EXPECT_EQ(outcome.exit_code, 0);
  ASSERT_GE(lines_of(outcome.err).size(), 2U);
  for (const std::string& line : lines_of(outcome.err)) {
    const json object = json::parse(line);
    EXPECT_EQ(object["level"], "info");
    EXPECT_EQ(object["rank"], 0);
    EXPECT_TRUE(object["message"].is_string() && object["time"].is_string());
  }
  const Outcome failed = run_octet({"generate", "x", "--model", "/no\nwhere", "--log-format", "json"});
  EXPECT_EQ(failed.exit_code, 2);
  EXPECT_EQ(json::parse(failed.err)["level"], "error");
  expect_refused({"generate", "x", "--log-format", "xml"}, {"--log-format", "xml"});
}

TEST(LogFormat, WhatArgumentsHoldStaysInItsLine) {
  for (const std::string& text : {std::string("x\noctet: all is well"), std::string("\xff\xfe"), std::string("\x1b[2J"),
                                  std::string("\u009b2J")}) {
    for (const std::vector<std::string>& arguments :
         std::vector<std::vector<std::string>>{{"generate", "x", "--model", text},
                                               {"generate", "x", "--temperature", text},
                                               {"generate", "x", "--log-level", text},
                                               {"generate", "x", "--device", text},
                                               {"generate", "x", "--logit-bias", text},
                                               {"tokenize", "--file", text},
                                               {"generate", "x", "--server", text},
                                               {"bench", text}}) {
      const Outcome outcome = run_octet(arguments);
      EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
      EXPECT_EQ(lines_of(outcome.err).size(), 1U) << outcome.err;
      EXPECT_EQ(outcome.err.find_first_of("\x1b\xff\xfe"), std::string::npos) << outcome.err;
      EXPECT_THAT(outcome.err, EndsWith("\n"));
    }
  }
}

}  // namespace
}  // namespace octet::testing
