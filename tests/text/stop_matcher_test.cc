#include "runtime/text/stop_matcher.h"

#include <gtest/gtest.h>

#include <random>

#include "runtime/base/utf8.h"

namespace octet {
namespace {

using Stops = std::vector<std::string>;

StopMatcher make(const Stops& stops, bool include_stop = false) {
  auto matcher = StopMatcher::create(stops, include_stop);
  EXPECT_TRUE(matcher.ok()) << matcher.status().message();
  return *std::move(matcher);
}

// By definition: the shortest prefix of `text` that ends with a stop string, and the longest such stop string.
StopMatcher::Output find_by_definition(const Stops& stops, const std::string& text, bool include_stop) {
  for (size_t end = 0; end <= text.size(); ++end) {
    std::optional<size_t> match;
    for (size_t i = 0; i < stops.size(); ++i) {
      const bool longer = !match || stops[i].size() > stops[*match].size();
      if (text.substr(0, end).ends_with(stops[i]) && longer) match = i;
    }
    if (match) return {text.substr(0, include_stop ? end : end - stops[*match].size()), match};
  }
  return {text, std::nullopt};
}

TEST(StopMatcher, FindsWhatTheDefinitionFindsHoweverTheTextIsCut) {
  std::mt19937 random(21);
  const std::vector<std::string> letters = {"a", "b", "é", "è"};
  const auto random_text = [&](size_t max) {
    std::string text;
    for (size_t n = 1 + random() % max; n > 0; --n) text += letters[random() % letters.size()];
    return text;
  };
  int num_matches = 0;
  for (int i = 0; i < 5000; ++i) {
    Stops stops;
    for (size_t n = random() % 4; n > 0; --n) stops.push_back(random_text(5));
    const bool include_stop = random() % 2 == 0;
    StopMatcher matcher = make(stops, include_stop);
    std::string text;
    std::string shown;
    std::optional<size_t> match;
    for (int chunk = 0; chunk < 8; ++chunk) {
      const std::string next = random() % 3 == 0 ? "" : random_text(4);
      text += next;
      const auto output = matcher.add(next);
      ASSERT_TRUE(is_valid_utf8(output.text));
      shown += output.text;
      if (output.match) match = output.match;
    }
    shown += matcher.flush();
    const auto expected = find_by_definition(stops, text, include_stop);
    ASSERT_EQ(shown, expected.text) << text << " with " << ::testing::PrintToString(stops);
    ASSERT_EQ(match, expected.match);
    num_matches += match ? 1 : 0;
  }
  EXPECT_GT(num_matches, 1000);
  EXPECT_LT(num_matches, 4900);
}

TEST(StopMatcher, HoldsOnlyWhatCouldBeTheStartOfAStop) {
  StopMatcher matcher = make({"\n\nUser:", "END"});
  EXPECT_EQ(matcher.add("Hello\n").text, "Hello");
  EXPECT_EQ(matcher.add("\nUs").text, "");
  EXPECT_EQ(matcher.add("ual E").text, "\n\nUsual ");
  EXPECT_EQ(matcher.add("N").text, "");
  EXPECT_EQ(matcher.flush(), "EN");
}

TEST(StopMatcher, AStopMayOverlapItsOwnBeginning) {
  StopMatcher matcher = make({"aab"});
  EXPECT_EQ(matcher.add("a").text, "");
  EXPECT_EQ(matcher.add("a").text, "");
  EXPECT_EQ(matcher.add("a").text, "a");
  const auto output = matcher.add("bcd");
  EXPECT_EQ(output.text, "");
  EXPECT_EQ(output.match, 0U);
}

TEST(StopMatcher, IgnoresTextAfterTheMatch) {
  StopMatcher matcher = make({"x", "stop"}, true);
  const auto output = matcher.add("now stop it x");
  EXPECT_EQ(output.text, "now stop");
  EXPECT_EQ(output.match, 1U);
  EXPECT_EQ(matcher.add("more").text, "");
  EXPECT_EQ(matcher.flush(), "");
}

TEST(StopMatcher, RefusesStopsThatCannotBeMatched) {
  EXPECT_EQ(StopMatcher::create({"a", ""}).status().code(), StatusCode::kInvalidInput);
  EXPECT_EQ(StopMatcher::create({"\xC3"}).status().code(), StatusCode::kInvalidInput);
}

}  // namespace
}  // namespace octet
