#include "runtime/base/percent.h"

#include <gtest/gtest.h>

namespace octet {
namespace {

bool is_letter(char c) { return c >= 'a' && c <= 'z'; }

TEST(Percent, WhatIsNotKeptIsTwoDigits) {
  using namespace std::string_view_literals;
  EXPECT_EQ(percent_encode("", is_letter), "");
  EXPECT_EQ(percent_encode("abc", is_letter), "abc");
  EXPECT_EQ(percent_encode("a b%c\n\0"sv, is_letter), "a%20b%25c%0A%00");
  EXPECT_EQ(percent_encode("ö/\x7f", is_letter), "%C3%B6%2F%7F");
}

}  // namespace
}  // namespace octet
