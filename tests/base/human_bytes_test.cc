#include "runtime/base/human_bytes.h"

#include <gtest/gtest.h>

namespace octet {
namespace {

TEST(HumanBytes, TakesTheUnitThatSuits) {
  EXPECT_EQ(human_bytes(int64_t{0}), "0 B");
  EXPECT_EQ(human_bytes(int64_t{999}), "999 B");
  EXPECT_EQ(human_bytes(1000.0), "1.0 KB");
  EXPECT_EQ(human_bytes(int64_t{640'000}), "640 KB");
  EXPECT_EQ(human_bytes(1.94e9), "1.9 GB");
  EXPECT_EQ(human_bytes(93.4e9), "93.4 GB");
  EXPECT_EQ(human_bytes(5e15), "5000 TB");
}

TEST(HumanBytes, MegabytesStayMegabytes) {
  EXPECT_EQ(megabytes(0), "0.0 MB");
  EXPECT_EQ(megabytes(1'234'560'000), "1234.6 MB");
}

}  // namespace
}  // namespace octet
