// Folders as people have them: what every command makes of their files.
#include "tests/launcher/run_octet.h"

namespace octet::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// The demo model in a folder of its own, whose files can be replaced and added to.
void link_demo(const fs::path& folder) {
  fs::create_directories(folder);
  for (const auto& entry : fs::directory_iterator(kDemoModel)) {
    fs::create_symlink(entry.path(), folder / entry.path().filename());
  }
}

void replace(const fs::path& path, const json& object) {
  fs::remove(path);
  write_file(path, object.dump());
}

class CheckpointFolder : public ::testing::Test {
 protected:
  void SetUp() override { link_demo(model_); }

  // Arguments with --model in front of the rest.
  std::vector<std::string> with_model(const std::string& command, const std::vector<std::string>& rest) const {
    std::vector<std::string> words = {command, "--model", model_};
    words.insert(words.end(), rest.begin(), rest.end());
    return words;
  }
  // The token ids that a text becomes in tokenize, and that generate runs: its output goes on as from these ids.
  void expect_ids(const std::string& text, const json& ids) {
    EXPECT_EQ(json_of(with_model("tokenize", {text, "--json"}))["ids"], ids);
    write_file(folder_ / "ids.json", ids.dump());
    const std::vector<std::string> greedy = {"--temperature", "0", "--max-tokens", "4", "--json"};
    std::vector<std::string> of_text = {text};
    std::vector<std::string> of_ids = {"--ids", folder_ / "ids.json"};
    of_text.insert(of_text.end(), greedy.begin(), greedy.end());
    of_ids.insert(of_ids.end(), greedy.begin(), greedy.end());
    const json from_text = json_of(with_model("generate", of_text));
    EXPECT_EQ(from_text["usage"]["prompt_tokens"], ids.size());
    EXPECT_EQ(from_text["token_ids"], json_of(with_model("generate", of_ids))["token_ids"]);
    ASSERT_EQ(run_octet(with_model("logits", {text, "--out", folder_ / "text.safetensors"})).exit_code, 0);
    ASSERT_EQ(run_octet(with_model("logits", {"--ids", folder_ / "ids.json", "--out", folder_ / "ids.safetensors"}))
                  .exit_code,
              0);
    EXPECT_EQ(read_file(folder_ / "text.safetensors"), read_file(folder_ / "ids.safetensors"));
  }

  TempFolder folder_;
  const fs::path model_ = folder_ / "a-model";
};

TEST_F(CheckpointFolder, BosIsTheSameInEveryCommand) {
  replace(model_ / "tokenizer_config.json", {{"bos_token", "</s>"}});  // config.json says 1
  expect_ids("In the beginning", {2, 1162, 267, 3671});
  replace(model_ / "tokenizer_config.json", {{"add_bos_token", false}});
  expect_ids("In the beginning", {1162, 267, 3671});
}

TEST_F(CheckpointFolder, InspectSaysWhichTokensAreSpecial) {
  replace(model_ / "tokenizer_config.json",
          {{"bos_token", "</s>"}, {"add_bos_token", false}, {"add_eos_token", true}, {"pad_token", "<unk>"}});
  replace(model_ / "generation_config.json", {{"eos_token_id", {2, 5}}});
  const std::vector<std::string> inspect = {"inspect", model_};
  EXPECT_THAT(output_of(inspect), HasSubstr("special tokens     BOS 2, EOS 2 (behind a text), unknown 0, padding 0; "
                                            "output ends at 2, 5\n"));
  EXPECT_EQ(json_of({"inspect", model_, "--json"})["special_tokens"], json({{"bos_id", 2},
                                                                            {"eos_id", 2},
                                                                            {"unk_id", 0},
                                                                            {"pad_id", 0},
                                                                            {"add_bos", false},
                                                                            {"add_eos", true},
                                                                            {"end_ids", {2, 5}}}));
  EXPECT_THAT(output_of({"inspect"}), HasSubstr("BOS 1 (in front of a text), EOS 2, unknown 0, padding none"));
}

TEST_F(CheckpointFolder, DefaultsOutOfBoundsAreSaidOnceAndLeftOut) {
  replace(model_ / "generation_config.json",
          {{"temperature", 3}, {"top_k", -1}, {"top_p", 0}, {"repetition_penalty", 0}, {"eos_token_id", {2, 4096}}});
  const Outcome outcome = run_octet(with_model("generate", {"In the", "--max-tokens", "3", "--seed", "1"}));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  for (const char* said : {"temperature is 3, not", "top_p is 0, not", "repetition_penalty is 0, not",
                           "eos_token_id 4096 is beyond the vocabulary of 4096"}) {
    EXPECT_THAT(outcome.err, HasSubstr(said));
    EXPECT_EQ(outcome.err.find(said), outcome.err.rfind(said));
  }
  EXPECT_THAT(outcome.err, Not(HasSubstr("top_k")));
}

TEST_F(CheckpointFolder, AnotherGenerationConfigOrNone) {
  replace(model_ / "generation_config.json", {{"do_sample", false}, {"eos_token_id", 2}});
  write_file(folder_ / "other.json", json({{"top_k", 1}}).dump());
  const auto generate = [&](const std::vector<std::string>& flags) {
    std::vector<std::string> words = {"In the beginning", "--max-tokens", "12", "--seed", "5", "--json"};
    words.insert(words.end(), flags.begin(), flags.end());
    return json_of(with_model("generate", words))["token_ids"];
  };
  const json greedy = generate({"--temperature", "0"});
  EXPECT_EQ(generate({}), greedy);
  EXPECT_EQ(generate({"--generation-config", folder_ / "other.json"}), greedy);  // of one token only
  EXPECT_EQ(generate({"--generation-config", "none"}), generate({"--temperature", "1"}));
  EXPECT_NE(generate({"--generation-config", "none"}), greedy);
  expect_refused(with_model("generate", {"x", "--generation-config", "/nowhere.json"}), {"/nowhere.json", "No such"});
  expect_refused(with_model("chat", {"--generation-config", "/nowhere.json"}), {"/nowhere.json", "No such"});
  expect_refused(with_model("serve", {"--generation-config", "/nowhere.json"}), {"/nowhere.json", "No such"});
}

// Every command that needs text takes a tokenizer from elsewhere.
TEST_F(CheckpointFolder, ATokenizerMayBeElsewhere) {
  write_file(folder_ / "text", "In the beginning");
  const std::vector<std::vector<std::string>> commands = {
      with_model("generate", {"In the", "--max-tokens", "2", "--temperature", "0"}),
      with_model("chat", {"--max-tokens", "2", "--temperature", "0"}),
      with_model("perplexity", {folder_ / "text"}),
      with_model("logits", {"In the", "--out", folder_ / "out.safetensors"}),
      with_model("tokenize", {"In the"}),
      with_model("detokenize", {"1 1162"})};
  std::vector<std::string> expected;
  for (const auto& words : commands) expected.push_back(output_of(words, {.input = "Hello\n"}));
  fs::rename(model_ / "tokenizer.model", folder_ / "elsewhere.model");
  for (size_t i = 0; i < commands.size(); ++i) {
    expect_refused(commands[i], {"tokenizer.model"}, {.input = "Hello\n"});
    std::vector<std::string> words = commands[i];
    words.insert(words.end(), {"--tokenizer", folder_ / "elsewhere.model"});
    EXPECT_EQ(output_of(words, {.input = "Hello\n"}), expected[i]) << words[0];
  }
  fs::rename(folder_ / "elsewhere.model", model_ / "tokenizer.model.v3");
  for (size_t i = 0; i < commands.size(); ++i) {
    EXPECT_EQ(output_of(commands[i], {.input = "Hello\n"}), expected[i]) << commands[i][0];
  }
}

TEST_F(CheckpointFolder, ACacheFolderIsItsSnapshotForEveryCommand) {
  const fs::path cache = folder_ / "models--some-org--a-model";
  fs::create_directories(cache / "refs");
  fs::create_directories(cache / "snapshots");
  write_file(cache / "refs" / "main", "0123abcd");
  fs::rename(model_, cache / "snapshots" / "0123abcd");
  const std::string of_demo = output_of({"generate", "In the", "--max-tokens", "4", "--temperature", "0"});
  EXPECT_EQ(output_of({"generate", "In the", "--max-tokens", "4", "--temperature", "0", "--model", cache}), of_demo);
  EXPECT_EQ(output_of({"tokenize", "In the", "--model", cache}), output_of({"tokenize", "In the"}));
  const std::string snapshot = cache / "snapshots" / "0123abcd";
  EXPECT_THAT(output_of({"inspect", cache}), HasSubstr(snapshot));
  EXPECT_THAT(json_of({"plan", "--model", cache, "--json"})["model"].get<std::string>(), HasSubstr("some-org"));
}

TEST_F(CheckpointFolder, ForeignFilesAreOneLineThatSaysWhatToDo) {
  fs::remove(model_ / "model.safetensors");
  write_file(model_ / "model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n");
  expect_refused(with_model("generate", {"x"}), {"model.safetensors", "Git LFS pointer", "git lfs pull"});
  fs::remove(model_ / "tokenizer.model");
  write_file(model_ / "tokenizer.model", "<!DOCTYPE html><html>");
  expect_refused(with_model("tokenize", {"x"}), {"tokenizer.model", "an HTML page"});
}

TEST_F(CheckpointFolder, AnAssumedContextMayBeExceededAndADeclaredOneNot) {
  const std::vector<std::string> ask = {"--ids", folder_ / "ids.json", "--max-tokens", "2", "--temperature", "0"};
  write_file(folder_ / "ids.json", "[1, 5, 6]");
  const auto generate = [&](const fs::path& model) {
    std::vector<std::string> words = {"generate", "--model", model, "--max-context", "65536", "--kv-cache", "64M"};
    words.insert(words.end(), ask.begin(), ask.end());
    return words;
  };
  expect_refused(generate(kGoldenDir / "plain-f32"), {"--max-context 65536", "32768"});
  const Outcome outcome = run_octet(generate(kGoldenDir / "native-bf16"));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("--max-context 65536: taken as it is; the checkpoint does not say how long its "
                                     "context is (32768 is assumed)"));
  EXPECT_THAT(output_of({"inspect", kGoldenDir / "rope-yarn"}), HasSubstr("scaled (yarn, factor 4)"));
  EXPECT_THAT(output_of({"inspect", kGoldenDir / "native-bf16"}), HasSubstr("32768 tokens (assumed;"));
}

}  // namespace
}  // namespace octet::testing
