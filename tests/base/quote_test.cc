#include "runtime/base/quote.h"

#include <gtest/gtest.h>

namespace octet {
namespace {

TEST(Quote, OrdinaryTextStays) {
  EXPECT_EQ(quote("model.norm.weight"), "'model.norm.weight'");
  EXPECT_EQ(quote(""), "''");
  EXPECT_EQ(quote("größe €"), "'größe €'");
}

TEST(Quote, WhatWouldBreakALineIsEscaped) {
  using namespace std::string_view_literals;
  EXPECT_EQ(quote("a\nb\r\t\x1b[0m\0'\\\x7f"sv), R"('a\x0ab\x0d\x09\x1b[0m\x00\'\\\x7f')");
}

TEST(Quote, ALongTextIsCutBetweenCharacters) {
  EXPECT_EQ(quote(std::string(120, 'x')), "'" + std::string(120, 'x') + "'");
  EXPECT_EQ(quote(std::string(121, 'x')), "'" + std::string(120, 'x') + "...'");
  EXPECT_EQ(quote(std::string(119, 'x') + "€€"), "'" + std::string(119, 'x') + "...'");
  EXPECT_EQ(quote(std::string(1000, '\x80')), "'...'");
}

TEST(Quote, WhatIsNoTextOrTurnsALineIsEscaped) {
  EXPECT_EQ(quote("a\xff\xc3"), R"('a\xff\xc3')");
  EXPECT_EQ(quote("\xc2\x9b"
                  "2J \xe2\x80\xa8 \xe2\x80\xae \xd8\x9c"),
            R"('\xc2\x9b2J \xe2\x80\xa8 \xe2\x80\xae \xd8\x9c')");
  EXPECT_EQ(quote("\xc2\xa0\xe2\x82\xac"), "'\xc2\xa0\xe2\x82\xac'") << "ordinary characters beside them";
}

TEST(EscapeLine, KeepsQuotesAndCuts) {
  EXPECT_EQ(escape_line("it's \\ \n so", 100), R"(it's \ \x0a so)");
  EXPECT_EQ(escape_line("€€", 5), "€...");
}

TEST(PlainWord, IsWhatQuotesWouldAddNothingTo) {
  for (const char* word : {"octet-1", "a", "user@host:1/x_y.z+2", "--"}) EXPECT_TRUE(is_plain_word(word)) << word;
  for (const char* word : {"", "a b", "a=b", "a\"", "größe", "a\n", "{}"}) EXPECT_FALSE(is_plain_word(word)) << word;
  EXPECT_FALSE(is_plain_word(std::string(129, 'x')));
}

}  // namespace
}  // namespace octet
