// What the tests of text share: where the tokenizers and reference outputs are, and folders that vanish.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include <unistd.h>

#include "runtime/text/tokenizer.h"

namespace octet {

inline const std::filesystem::path kSourceDir = OCTET_SOURCE_DIR;
inline const std::filesystem::path kMixtralTokenizer =
    kSourceDir / "tests/data/tokenizers/mixtral-8x7b.tokenizer.model";
inline const std::filesystem::path kDemoTokenizer = kSourceDir / "configs/models/octet-demo/tokenizer.model";
inline const std::filesystem::path kGoldenDir = kSourceDir / "tests/data/golden";

inline Tokenizer open_tokenizer(const std::filesystem::path& path) {
  auto tokenizer = Tokenizer::open(path);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return *std::move(tokenizer);
}

// A folder of its own, removed with everything in it.
class TempDir {
 public:
  TempDir() {
    static std::atomic<int> next{0};
    path_ = std::filesystem::temp_directory_path() / fmt::format("octet-text-{}-{}", getpid(), next++);
    std::filesystem::create_directories(path_);
  }
  TempDir(TempDir&& other) noexcept : path_(std::move(other.path_)) { other.path_.clear(); }
  TempDir& operator=(TempDir&&) = delete;
  ~TempDir() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }
  void write(const std::string& name, std::string_view text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace octet
