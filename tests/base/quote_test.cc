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

}  // namespace
}  // namespace octet
