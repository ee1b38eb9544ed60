#include "runtime/base/pack.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace octet {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

std::vector<std::byte> message() {
  return Packer()
      .number(UINT64_MAX - 1)
      .uint32(7)
      .int32(-8)
      .int32s(std::vector<int32_t>{1, -2, 3})
      .int32s({})
      .text("größe")
      .block(bytes_of("\0x"))
      .raw(bytes_of("end"))
      .take();
}

TEST(Pack, WhatWasPackedIsUnpacked) {
  const std::vector<std::byte> bytes = message();
  Unpacker in(bytes);
  EXPECT_EQ(in.number(), UINT64_MAX - 1);
  EXPECT_EQ(in.uint32(), 7U);
  EXPECT_EQ(in.int32(), -8);
  std::vector<int32_t> list = {9};
  in.int32s(list);
  EXPECT_EQ(list, (std::vector<int32_t>{1, -2, 3}));
  in.int32s(list);
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(in.text(), "größe");
  EXPECT_TRUE(std::ranges::equal(in.block(), bytes_of("\0x")));
  EXPECT_FALSE(in.at_end());
  EXPECT_TRUE(std::ranges::equal(in.raw(3), bytes_of("end")));
  EXPECT_TRUE(in.ok() && in.at_end());
}

// Wherever a message is cut off, what is missing is 0 or empty, and that is seen.
TEST(Pack, ACutMessageIsFound) {
  const std::vector<std::byte> bytes = message();
  for (size_t size = 0; size < bytes.size(); ++size) {
    Unpacker in{std::span(bytes).first(size)};
    in.number();
    in.uint32();
    in.int32();
    std::vector<int32_t> list;
    in.int32s(list);
    in.int32s(list);
    in.text();
    in.block();
    EXPECT_TRUE(in.raw(3).empty()) << size;
    EXPECT_FALSE(in.ok()) << size;
    EXPECT_EQ(in.number(), 0U);
    EXPECT_EQ(in.text(), "");
  }
}

TEST(Pack, ALengthThatIsNotThereIsNotBelieved) {
  const std::vector<std::byte> large = Packer().number(UINT64_MAX).take(), negative = Packer().int32(-1).take();
  Unpacker in(large);
  EXPECT_EQ(in.text(), "");
  EXPECT_FALSE(in.ok());
  Unpacker list_in(negative);
  std::vector<int32_t> list = {1};
  list_in.int32s(list);
  EXPECT_TRUE(list.empty());
  EXPECT_FALSE(list_in.ok());
}

TEST(Pack, MemoryIsUsedAgain) {
  std::vector<std::byte> memory(100, std::byte{1});
  const std::byte* place = memory.data();
  memory = Packer(std::move(memory)).uint32(5).take();
  EXPECT_EQ(memory.size(), 4U);
  EXPECT_EQ(memory.data(), place);
}

}  // namespace
}  // namespace octet
