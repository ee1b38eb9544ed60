#include "runtime/base/hash.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

namespace octet {
namespace {

TEST(Hash, MatchesPublishedVectors) {
  EXPECT_EQ(hash_text(""), 0xcbf29ce484222325U);
  EXPECT_EQ(hash_text("a"), 0xaf63dc4c8601ec8cU);
  EXPECT_EQ(hash_text("foobar"), 0x85944171f73967e8U);
}

TEST(Hash, PiecesHashLikeTheWhole) { EXPECT_EQ(hash_text("bar", hash_text("foo")), hash_text("foobar")); }

TEST(Hash, FileHashesLikeItsBytes) {
  const std::string path = std::filesystem::temp_directory_path() / ("octet_hash_test." + std::to_string(getpid()));
  std::string bytes;
  for (int i = 0; i < 200'000; ++i) bytes += static_cast<char>(i * 131 >> 3);
  std::ofstream(path, std::ios::binary) << bytes;
  const auto hash = hash_file(path);
  std::filesystem::remove(path);
  ASSERT_TRUE(hash.ok()) << hash.status().message();
  EXPECT_EQ(*hash, hash_text(bytes));
  const auto gone = hash_file(path);
  EXPECT_FALSE(gone.ok());
  EXPECT_NE(gone.status().message().find(path), std::string::npos);
  EXPECT_FALSE(hash_file(std::filesystem::temp_directory_path()).ok());
}

}  // namespace
}  // namespace octet
