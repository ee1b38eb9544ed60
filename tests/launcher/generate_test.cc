// octet generate as its users meet it.
#include <algorithm>
#include <numeric>
#include <random>
#include <set>

#include "runtime/text/tokenizer.h"
#include "tests/launcher/run_octet.h"

namespace octet::testing {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

json demo_prompts() { return read_json(kGoldenDir / "octet-demo/prompts.json")["prompts"]; }

// The text that the output adds to its prompt's.
std::string continuation(const json& prompt, const Tokenizer& tokenizer) {
  std::vector<TokenId> ids = prompt["ids"];
  for (const TokenId id : prompt["greedy"].get<std::vector<TokenId>>()) ids.push_back(id);
  return tokenizer.decode(ids).substr(prompt["text"].get<std::string>().size());
}

std::vector<std::string> greedy(const std::string& prompt, size_t max_tokens) {
  return {"generate", prompt, "--temperature", "0", "--max-tokens", std::to_string(max_tokens)};
}

TEST(Generate, GreedyTextIsTheReferences) {
  const auto tokenizer = Tokenizer::open(kDemoModel);
  ASSERT_TRUE(tokenizer.ok());
  for (const json& prompt : demo_prompts()) {
    const std::string expected = continuation(prompt, *tokenizer);
    EXPECT_THAT(expected, ::testing::EndsWith(prompt["greedy_text"].get<std::string>()));
    EXPECT_EQ(output_of(greedy(prompt["text"], prompt["greedy"].size())), expected + "\n");
  }
}

TEST(Generate, JsonHasWhatItPromises) {
  const json prompt = demo_prompts()[1];
  const size_t count = prompt["greedy"].size();
  const json object = json_of(greedy(prompt["text"], count) + std::vector<std::string>{"--json", "--logprobs", "3"});
  EXPECT_EQ(object["token_ids"], prompt["greedy"]);
  EXPECT_EQ(object["finish_reason"], "length");
  EXPECT_EQ(object["usage"], json({{"prompt_tokens", prompt["ids"].size()}, {"completion_tokens", count}}));
  EXPECT_TRUE(object["seed"].is_number_unsigned());
  for (const char* key : {"load_s", "time_to_first_token_s", "prefill_tokens_per_s", "decode_tokens_per_s"}) {
    EXPECT_GT(object["timings"][key], 0) << key;
  }
  ASSERT_EQ(object["logprobs"].size(), count);
  for (size_t i = 0; i < count; ++i) {
    const json& entry = object["logprobs"][i];
    EXPECT_EQ(entry["token_id"], object["token_ids"][i]);
    ASSERT_EQ(entry["top"].size(), 3U);
    EXPECT_EQ(entry["top"][0], json::array({entry["token_id"], entry["logprob"]})) << "greedy takes the most probable";
    EXPECT_GE(entry["top"][0][1], entry["top"][1][1]);
    EXPECT_LE(entry["logprob"], 0);
  }
}

TEST(Generate, PromptComesFromArgumentFileStandardInputOrIds) {
  const json prompt = demo_prompts()[3];
  const std::string text = prompt["text"];
  const TempFolder folder;
  write_file(folder / "prompt.txt", text);
  write_file(folder / "ids.json", prompt["ids"].dump());
  const std::vector<std::string> flags = {"--temperature", "0", "--max-tokens", "6"};
  const std::string expected = output_of(std::vector<std::string>{"generate", text} + flags);
  EXPECT_EQ(output_of(std::vector<std::string>{"generate", "--file", folder / "prompt.txt"} + flags), expected);
  EXPECT_EQ(output_of(std::vector<std::string>{"generate", "-"} + flags, {.input = text}), expected);
  EXPECT_EQ(output_of(std::vector<std::string>{"generate"} + flags, {.input = text}), expected);
  EXPECT_EQ(output_of(std::vector<std::string>{"generate", "--ids", folder / "ids.json"} + flags), expected);
  EXPECT_EQ(output_of(std::vector<std::string>{"generate", "--ids", "-"} + flags, {.input = prompt["ids"].dump()}),
            expected);
}

TEST(Generate, ASeedFixesTheTextWhateverThePrefillChunk) {
  const std::vector<std::string> sampled = {
      "generate", "Y dijo Jehová á Moisés:", "--temperature", "1", "--max-tokens", "40", "--seed"};
  std::set<std::string> texts;
  for (const char* seed : {"1", "2", "18446744073709551615"}) {
    const std::string text = output_of(sampled + std::vector<std::string>{seed});
    for (const char* chunk : {"1", "3", "64"}) {
      EXPECT_EQ(output_of(sampled + std::vector<std::string>{seed, "--prefill-chunk", chunk}), text);
    }
    texts.insert(text);
  }
  EXPECT_EQ(texts.size(), 3U) << "other seeds, other texts";
}

TEST(Generate, AnUnsetSeedIsDrawnAndReported) {
  const std::vector<std::string> sampled = {"generate",     "The LORD", "--temperature", "1",
                                            "--max-tokens", "30",       "--json"};
  const json first = json_of(sampled);
  const json second = json_of(sampled);
  EXPECT_NE(first["seed"], second["seed"]);
  const json again = json_of(sampled + std::vector<std::string>{"--seed", first["seed"].dump()});
  EXPECT_EQ(again["token_ids"], first["token_ids"]);
}

TEST(Generate, StopStringsEndTheTextBeforeThem) {
  const json prompt = demo_prompts()[6];  // " que son de los que son de los …"
  const std::string text = prompt["text"];
  const json object =
      json_of(greedy(text, 40) + std::vector<std::string>{"--json", "--stop", "never there", "--stop", "de los que"});
  EXPECT_EQ(object["finish_reason"], "stop");
  EXPECT_EQ(object["stop"], "de los que");
  EXPECT_EQ(object["text"], " que son ");
  EXPECT_EQ(output_of(greedy(text, 40) + std::vector<std::string>{"--stop", "de los que"}), " que son \n");
}

TEST(Generate, StopTokensEndTheText) {
  const json prompt = demo_prompts()[6];
  const std::string stop = prompt["greedy"][3].dump();
  const json object = json_of(greedy(prompt["text"], 40) + std::vector<std::string>{"--json", "--stop-token-id", stop});
  EXPECT_EQ(object["finish_reason"], "stop");
  EXPECT_EQ(object["stop"], prompt["greedy"][3]);
  EXPECT_EQ(object["token_ids"].size(), 4U);
}

TEST(Generate, SamplesAreNumberedAndTheFirstIsTheLoneOne) {
  const std::vector<std::string> sampled = {
      "generate", "In the beginning", "--temperature", "1", "--seed", "5", "--max-tokens", "20", "--json"};
  const json alone = json_of(sampled);
  const auto lines = lines_of(output_of(sampled + std::vector<std::string>{"--num-samples", "3"}));
  ASSERT_EQ(lines.size(), 3U);
  std::set<std::string> texts;
  for (size_t i = 0; i < lines.size(); ++i) {
    const json object = json::parse(lines[i]);
    EXPECT_EQ(object["index"], i);
    texts.insert(object["text"].get<std::string>());
  }
  EXPECT_EQ(texts.size(), 3U);
  EXPECT_EQ(json::parse(lines[0])["token_ids"], alone["token_ids"]);
  EXPECT_FALSE(alone.contains("index"));
}

TEST(Generate, ALogitBiasForcesAToken) {
  const json object =
      json_of(greedy("In the beginning", 5) + std::vector<std::string>{"--json", "--logit-bias", "77=100"});
  EXPECT_THAT(object["token_ids"], Each(77));
}

TEST(Generate, WithoutATokenizerIdsWork) {
  const json prompt = read_json(kGoldenDir / "plain-f32/prompts.json")["prompts"][0];
  const TempFolder folder;
  write_file(folder / "ids.json", prompt["ids"].dump());
  const std::vector<std::string> arguments = {
      "generate",      "--model", kGoldenDir / "plain-f32", "--ids",        folder / "ids.json",
      "--temperature", "0",       "--ignore-eos",           "--max-tokens", std::to_string(prompt["greedy"].size())};
  const json object = json_of(arguments + std::vector<std::string>{"--json"});
  EXPECT_TRUE(object["text"].is_null());
  EXPECT_EQ(object["token_ids"], prompt["greedy"]);
  EXPECT_EQ(output_of(arguments), spaced(prompt["greedy"]) + "\n");
  expect_refused({"generate", "--model", kGoldenDir / "plain-f32", "text"}, {"plain-f32", "tokenizer.model"});
  expect_refused(arguments + std::vector<std::string>{"--stop", "x"}, {"stop", "tokenizer"});
}

TEST(Generate, WrongValuesAreRefusedByName) {
  const TempFolder folder;
  write_file(folder / "ids.json", "[1, 4096]");
  write_file(folder / "text.json", "[1, \"two\"]");
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"--temperature", "hot"}, "--temperature"},
      {{"--temperature", "3"}, "temperature 3"},
      {{"--top-p", "0"}, "top_p 0"},
      {{"--max-tokens", "0"}, "max_tokens 0"},
      {{"--max-tokens", "40000"}, "32768"},
      {{"--num-samples", "0"}, "num_samples 0"},
      {{"--stop-token-id", "4096"}, "4096"},
      {{"--stop", ""}, "stop"},
      {{"--logit-bias", "five=1"}, "--logit-bias"},
      {{"--prefill-chunk", "0"}, "--prefill-chunk"},
      {{"--max-context", "99999999"}, "--max-context"},
      {{"--kv-cache", "1K"}, "--kv-cache"},
      {{"--device", "abacus"}, "abacus"},
      {{"--weights", "int3"}, "--weights"},
  };
  for (const auto& [flags, part] : cases) {
    expect_refused(std::vector<std::string>{"generate", "In the beginning"} + flags, {part});
  }
  expect_refused({"generate", "--ids", folder / "ids.json"}, {"4096"});
  expect_refused({"generate", "--ids", folder / "text.json"}, {"two"});
  expect_refused({"generate", "--ids", folder / "none.json"}, {"none.json"});
  expect_refused({"generate", "--file", folder / "none.txt"}, {"none.txt"});
  expect_refused({"generate", "x", "--file", folder / "ids.json"}, {"--file"});
}

TEST(Generate, CudaIsRefusedWhereThisBuildOrThisMachineLacksIt) {
  setenv("CUDA_VISIBLE_DEVICES", "", 1);  // no GPU, even where there is one
  expect_refused({"generate", "In the beginning", "--device", "cuda"}, {"--device cuda"});
  unsetenv("CUDA_VISIBLE_DEVICES");
}

TEST(Generate, AnInterruptEndsItWithWhatWasWritten) {
  RunningOctet octet({"generate", "The LORD is my shepherd", "--temperature", "0", "--max-tokens", "30000"});
  octet.read_until("my son, my son");
  octet.send(SIGINT);
  const Outcome outcome = octet.wait();
  EXPECT_EQ(outcome.exit_code, 130);
  EXPECT_THAT(outcome.out, AllOf(StartsWith(", my son"), ::testing::EndsWith("\n")));
}

TEST(Generate, OutputThatCannotBeWrittenIsAFailure) {
  const Outcome full = run_octet({"generate", "In the beginning", "--max-tokens", "5"}, {.stdout_path = "/dev/full"});
  EXPECT_EQ(full.exit_code, 1);
  EXPECT_THAT(full.err, HasSubstr("standard output"));
  const Outcome closed = run_octet({"generate", "In the beginning", "--max-tokens", "5"}, {.stdout_closed = true});
  EXPECT_EQ(closed.exit_code, 1);
  EXPECT_THAT(closed.err, HasSubstr("standard output"));
}

TEST(Generate, AReaderThatLeavesEndsIt) {
  RunningOctet octet({"generate", "The LORD", "--max-tokens", "30000", "--ignore-eos"});
  octet.read_until(" ");
  octet.stop_reading();
  const Outcome outcome = octet.wait();
  EXPECT_EQ(outcome.exit_code, 128 + SIGPIPE);  // as it ends every program that ignores nothing
  EXPECT_THAT(outcome.err, ::testing::Not(HasSubstr("standard output")));
}

TEST(Generate, OutputIsTheSameFromAnotherFolder) {
  const TempFolder folder;
  EXPECT_EQ(output_of(greedy("In the beginning", 4), {.folder = folder.path()}),
            output_of(greedy("In the beginning", 4)));
}

}  // namespace
}  // namespace octet::testing
