// Files that are not what their names say: each is told by its first bytes, and the line says what to do.
#include "runtime/base/foreign_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/checkpoint/checkpoint.h"
#include "runtime/text/tokenizer.h"
#include "tests/base/temp_folder.h"
#include "tests/checkpoint/checkpoint_builder.h"

namespace octet {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

struct Foreign {
  const char* name;
  std::string bytes;
  const char* what;
};

const std::string kPointer =
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 4892809584\n";

// Of any kind of file.
std::vector<Foreign> foreign_files() {
  return {{"LfsPointer", kPointer, "Git LFS pointer, not the file itself; \"git lfs pull\""},
          {"Html", "<!DOCTYPE html>\n<html><head>", "an HTML page"},
          {"HtmlBehindSpace", "\n\n  <html lang=\"en\">", "an HTML page"},
          {"Xml", "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code>", "an XML page"},
          {"JsonError", R"({"error":"Repository not found"})", "a server's error instead of the file"},
          {"Zip", std::string("PK\x03\x04\x00\x00\x08\x08", 8), "a zip archive"},
          {"Pickle", std::string("\x80\x02}q\x00X", 6), "a pickle file, which can run code"},
          {"PickleOfToday", std::string("\x80\x05\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c", 12), "a pickle file"},
          {"Gzip", std::string("\x1f\x8b\x08\x00", 4), "gunzip"},
          {"Zstd", std::string("\x28\xb5\x2f\xfd\x04", 5), "unzstd"},
          {"Gguf", std::string("GGUF\x03\x00\x00\x00", 8), "a GGUF file"},
          {"Empty", "", "empty"}};
}

TEST(ForeignFile, IsToldByItsFirstBytes) {
  for (const Foreign& file : foreign_files()) {
    for (const FileContent expected : {FileContent::kJson, FileContent::kBinary}) {
      EXPECT_THAT(describe_foreign(file.bytes, expected), HasSubstr(file.what)) << file.name;
    }
  }
}

TEST(ForeignFile, WhatMayStandThereIsNotCalledForeign) {
  EXPECT_THAT(describe_foreign(R"({"model_type": "mixtral"})", FileContent::kJson), IsEmpty());
  EXPECT_THAT(describe_foreign(R"({"model_type": "mixtral"})", FileContent::kBinary), HasSubstr("JSON text"));
  // A header's length may have any first bytes: 0x8b1f, 0x0280, '{' …
  for (const char* length : {"\x1f\x8b", "\x80\x02", "{ ", "BZ"}) {
    const std::string frame = std::string(length, 2) + std::string(6, '\0') + "{\"a\":";
    EXPECT_THAT(describe_foreign(frame, FileContent::kBinary), IsEmpty());
  }
}

TEST(ForeignFile, WeightsAreNamedWithWhatTheyAre) {
  for (const Foreign& file : foreign_files()) {
    const TempFolder folder;
    make_checkpoint().write(folder.path());
    write_file(folder / "model.safetensors", file.bytes);
    const auto opened = Checkpoint::open(folder.path());
    ASSERT_FALSE(opened.ok()) << file.name;
    EXPECT_EQ(opened.status().code(), StatusCode::kInvalidInput);
    EXPECT_THAT(opened.status().message(),
                AllOf(HasSubstr((folder / "model.safetensors").string()), HasSubstr(file.what), Not(HasSubstr("\n"))));
  }
}

// Every other file of a checkpoint that is read.
TEST(ForeignFile, OtherFilesAreNamedWithWhatTheyAre) {
  for (const char* name : {"config.json", "generation_config.json", "model.safetensors.index.json"}) {
    for (const Foreign& file : foreign_files()) {
      const TempFolder folder;
      TestCheckpoint checkpoint = make_checkpoint();
      checkpoint.num_shards = 2;
      checkpoint.write(folder.path());
      write_file(folder / name, file.bytes);
      const auto opened = Checkpoint::open(folder.path());
      // A server's error is a JSON object, and one without a key that generation_config.json needs.
      if (opened.ok()) {
        EXPECT_STREQ(name, "generation_config.json");
        EXPECT_STREQ(file.name, "JsonError");
        continue;
      }
      EXPECT_THAT(opened.status().message(), AllOf(HasSubstr((folder / name).string()), HasSubstr(file.what)))
          << file.name;
    }
  }
}

TEST(ForeignFile, TokenizersAreNamedWithWhatTheyAre) {
  for (const Foreign& file : foreign_files()) {
    const TempFolder folder;
    write_file(folder / "tokenizer.model", file.bytes);
    const auto opened = Tokenizer::open(folder.path());
    ASSERT_FALSE(opened.ok()) << file.name;
    EXPECT_THAT(opened.status().message(),
                AllOf(HasSubstr((folder / "tokenizer.model").string()), HasSubstr(file.what)));
  }
}

TEST(ForeignFile, AFileThatIsCutShortIsToBeFetchedAgain) {
  const TempFolder folder;
  make_checkpoint().write(folder.path());
  const std::string whole = read_file(folder / "model.safetensors");
  for (const size_t length : {size_t{100}, whole.size() - 1}) {
    write_file(folder / "model.safetensors", std::string_view(whole).substr(0, length));
    EXPECT_THAT(Checkpoint::open(folder.path()).status().message(), HasSubstr("cut short or damaged; fetch it again"));
  }
}

TEST(ForeignFile, AFileInsteadOfAFolderIsNamedWithWhatItIs) {
  const TempFolder folder;
  write_file(folder / "mixtral.gguf", "GGUF\x03");
  write_file(folder / "model.safetensors", "");
  EXPECT_THAT(Checkpoint::open(folder / "mixtral.gguf").status().message(),
              AllOf(HasSubstr("mixtral.gguf: a file, a GGUF file"), HasSubstr("a model is the folder of config.json")));
}

TEST(ForeignFile, LoraWeightsAreToBeMergedFirst) {
  const TempFolder folder;
  write_file(folder / "adapter_config.json", "{}");
  write_tensors(folder / "adapter_model.safetensors", {});
  EXPECT_THAT(Checkpoint::open(folder.path()).status().message(),
              AllOf(HasSubstr(folder.path().string()), HasSubstr("LoRA weights"), HasSubstr("merge")));
}

TEST(ForeignFile, ShardsWithoutTheirIndexAreSaidToLackIt) {
  const TempFolder folder;
  TestCheckpoint checkpoint = make_checkpoint();
  checkpoint.num_shards = 2;
  checkpoint.write(folder.path());
  std::filesystem::remove(folder / "model.safetensors.index.json");
  EXPECT_THAT(Checkpoint::open(folder.path()).status().message(),
              HasSubstr("model.safetensors.index.json: missing, but shards of weights are there"));
}

}  // namespace
}  // namespace octet
