// Where a model is in the folder that a user names.
#include "runtime/base/model_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/checkpoint/checkpoint.h"
#include "runtime/text/tokenizer.h"
#include "tests/base/temp_folder.h"
#include "tests/checkpoint/checkpoint_builder.h"

namespace octet {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

class CacheFolder : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* revision : {"aaaa", "bbbb"}) {
      fs::create_directories(cache_ / "snapshots" / revision);
      make_checkpoint().write(cache_ / "snapshots" / revision);
    }
    fs::create_directories(cache_ / "refs");
  }
  void set_main(std::string_view revision) { write_file(cache_ / "refs" / "main", revision); }
  std::string refusal() {
    const auto opened = Checkpoint::open(cache_);
    EXPECT_EQ(opened.status().code(), StatusCode::kInvalidInput);
    return opened.status().message();
  }

  TempFolder folder_;
  fs::path cache_ = folder_ / "models--some-org--a-model";
};

TEST_F(CacheFolder, IsTheSnapshotThatMainNames) {
  for (const char* written : {"bbbb", "bbbb\n"}) {
    set_main(written);
    const auto opened = Checkpoint::open(cache_);
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    EXPECT_EQ(opened->path(), cache_ / "snapshots" / "bbbb");
    EXPECT_EQ(model_name(opened->path()), "some-org/a-model");
    EXPECT_TRUE(read_model_config(cache_).ok());
  }
  // The same of the folder around it, and with a slash at its end.
  EXPECT_EQ(*resolve_model_folder(folder_.path()), cache_ / "snapshots" / "bbbb");
  EXPECT_EQ(model_name(*resolve_model_folder(cache_ / "")), "some-org/a-model");
}

TEST_F(CacheFolder, WithoutMainIsItsOnlySnapshot) {
  EXPECT_THAT(refusal(), AllOf(HasSubstr("no refs/main says which of its 2 snapshots"), HasSubstr(cache_.string())));
  fs::remove_all(cache_ / "snapshots" / "aaaa");
  EXPECT_TRUE(Checkpoint::open(cache_).ok());
}

TEST_F(CacheFolder, MainThatNamesNoSnapshotIsRefused) {
  set_main("cccc");
  EXPECT_THAT(refusal(), HasSubstr("refs/main: names snapshot 'cccc', which is not there"));
  const std::vector<std::string_view> names = {"",    "..", ".", "../..", "/etc", "a/b", std::string_view("a\0b", 3),
                                               "a\nb"};
  for (const std::string_view name : names) {
    set_main(name);
    EXPECT_THAT(refusal(), HasSubstr("refs/main")) << name;
  }
}

TEST(ModelFolder, OneLevelDeeperIsFound) {
  const TempFolder folder;
  fs::create_directories(folder / "Mixtral-8x7B/original");
  make_checkpoint().write(folder / "Mixtral-8x7B");
  write_file(folder / "README.md", "here");
  EXPECT_EQ(*resolve_model_folder(folder.path()), folder / "Mixtral-8x7B");
  EXPECT_EQ(Checkpoint::open(folder.path())->path(), folder / "Mixtral-8x7B");
  fs::create_directories(folder / "other");
  make_checkpoint(tiny_config(), TestLayout::kNative).write(folder / "other");
  EXPECT_THAT(Checkpoint::open(folder.path()).status().message(),
              HasSubstr("holds 2 models ('Mixtral-8x7B, other'); name the folder of one"));
}

// A folder with anything of a model in it is what was meant, whatever lies below.
TEST(ModelFolder, AModelsOwnFolderIsItself) {
  for (const char* name : {"config.json", "params.json", "model.safetensors", "consolidated.00.pth"}) {
    const TempFolder folder;
    fs::create_directories(folder / "below");
    make_checkpoint().write(folder / "below");
    write_file(folder / name, "");
    EXPECT_EQ(*resolve_model_folder(folder.path()), folder.path());
  }
  EXPECT_EQ(*resolve_model_folder("/nowhere/at/all"), "/nowhere/at/all");
}

TEST(ModelFolder, IsCalledByItsName) {
  const TempFolder folder;
  fs::create_directories(folder / "a model");
  EXPECT_EQ(model_name(folder / "a model"), "a model");
  EXPECT_EQ(model_name(folder / "a model" / ""), "a model");
  EXPECT_EQ(model_name(folder / "a model" / "."), "a model");
}

TEST(ModelFolder, TokenizersOfEveryNameAreFound) {
  const TempFolder folder;
  EXPECT_TRUE(find_tokenizer_file(folder.path()).empty());
  for (const char* name :
       {"tokenizer.model.v2", "tokenizer.model.v1", "tokenizer.model.v3.bak", "tokenizer.model.vx"}) {
    write_file(folder / name, "");
  }
  EXPECT_EQ(find_tokenizer_file(folder.path()), folder / "tokenizer.model.v2");
  write_file(folder / "tokenizer.model.v10", "");
  EXPECT_EQ(find_tokenizer_file(folder.path()), folder / "tokenizer.model.v10");
  write_file(folder / "tokenizer.model", "");
  EXPECT_EQ(find_tokenizer_file(folder.path()), folder / "tokenizer.model");
}

TEST(ModelFolder, ANumberedTokenizerOpens) {
  const TempFolder folder;
  fs::copy(fs::path(OCTET_SOURCE_DIR) / "tests/data/tokenizers/mixtral-8x7b.tokenizer.model",
           folder / "tokenizer.model.v3");
  const auto tokenizer = Tokenizer::open(folder.path());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_EQ(tokenizer->vocab_size(), 32000);
}

}  // namespace
}  // namespace octet
