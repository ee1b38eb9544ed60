// What all commands share: names, suggestions, the configuration file, hostile input.
#include "tests/launcher/run_octet.h"

namespace octet::testing {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

const std::vector<std::string> kCommands = {"generate",   "chat",    "perplexity", "logits", "tokenize",
                                            "detokenize", "inspect", "completion", "run",    "plan"};

TEST(Cli, HelpNamesEveryCommandAndEveryCommandHasExamples) {
  const std::string help = output_of({"--help"});
  for (const std::string& command : kCommands) {
    EXPECT_THAT(help, HasSubstr("\n  " + command + " "));
    EXPECT_THAT(output_of({command, "--help"}), AllOf(HasSubstr("Examples:"), HasSubstr("octet " + command),
                                                      HasSubstr("--config"), HasSubstr("--log-level")));
  }
}

TEST(Cli, VersionIsOneLine) {
  EXPECT_THAT(output_of({"--version"}), ::testing::MatchesRegex("octet [0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

TEST(Cli, MisspeltNamesAreRefusedWithAGuess) {
  expect_refused({"genrate", "x"}, {"genrate", "generate"});
  expect_refused({"generate", "--temprature", "1", "x"}, {"--temprature", "--temperature"});
  expect_refused({"generate", "--temprature=1", "x"}, {"--temprature", "--temperature"});
  expect_refused({"inspect", "--tensor"}, {"--tensor", "--tensors"});
  expect_refused({"logits", "x", "--positons", "1", "--out", "y"}, {"--positons", "--positions"});
  expect_refused({"logits", "x", "--ouut", "y"}, {"unknown flag --ouut", "--out?"});  // though --out is required
  expect_refused({"run", "--ranks", "2", "generate", "--seed", "1"}, {"unknown flag --seed", "behind --"});
}

TEST(Cli, WrongUsageIsToldInTheFormatOfTheLog) {
  const std::vector<std::vector<std::string>> wrong = {
      {"generate", "--log-format", "json", "--max-tokns", "3", "x"},
      {"generate", "--threads", "0", "--log-format=json", "x"},
      {"logits", "x", "--log-format", "json"},
  };
  for (const auto& arguments : wrong) {
    const Outcome outcome = run_octet(arguments);
    EXPECT_EQ(outcome.exit_code, 2);
    const json line = json::parse(outcome.err, nullptr, /*allow_exceptions=*/false);
    EXPECT_EQ(line.value("level", ""), "error") << outcome.err;
  }
  const Outcome by_environment =
      run_octet({"generate", "--tempature", "1"}, {.environment = {{"OCTET_LOG_FORMAT", "json"}}});
  EXPECT_THAT(by_environment.err, ::testing::StartsWith("{"));
  expect_refused({"generate", "--tempature", "1", "--log-format", "xml"}, {"unknown flag --tempature"});
}

TEST(Cli, WrongUsageIsRefused) {
  expect_refused({}, {"subcommand", "--help"});
  expect_refused({"generate", "one", "two"}, {"unexpected argument 'two'", "quotes"});
  expect_refused({"detokenize", "1", "2", "3"}, {"unexpected argument '2'"});
  expect_refused({"chat", "hello"}, {"unexpected argument 'hello' (see"});
  expect_refused({"generate", "--max-tokens", "many"}, {"--max-tokens: 'many' is not a number"});
  expect_refused({"generate", "--max-tokens", "1e3"}, {"--max-tokens '1e3'", "not an integer"});
  expect_refused({"generate", "--temperature", "nan"}, {"'nan' is not a number"});
  expect_refused({"generate", "--logit-bias", "5"}, {"'5' is not ID=X"});
  expect_refused({"generate", "--stop-token-id", "x"}, {"'x' is not a number"});
  expect_refused({"generate", "--file", ""}, {"'': no such file"});
  expect_refused({"generate", "x", "--temperature"}, {"--temperature"});
  expect_refused({"generate", "x", "--log-level", "loud"}, {"--log-level", "loud"});
  expect_refused({"inspect", "--ranks", "many"}, {"--ranks"});
}

TEST(Cli, MissingAndHostileCheckpointsAreRefusedByPath) {
  const TempFolder folder;
  expect_refused({"generate", "x", "--model", "/nowhere/model"}, {"/nowhere/model"});
  expect_refused({"generate", "x", "--model", folder.path()}, {folder.path().string(), "config.json"});
  std::filesystem::copy(kGoldenDir / "plain-f32", folder / "cut");
  std::filesystem::resize_file(folder / "cut/model.safetensors", 100000);
  std::filesystem::copy(kGoldenDir / "plain-f32", folder / "lies");
  write_file(folder / "lies/config.json", R"({"model_type": "mixtral", "hidden_size": -64})");
  std::filesystem::copy(kGoldenDir / "plain-f32", folder / "garbage");
  write_file(folder / "garbage/model.safetensors", std::string(4096, '\xff'));
  std::filesystem::copy(kDemoModel, folder / "text");
  write_file(folder / "text/tokenizer.model", std::string(1000, '\x7f'));
  for (const char* command : {"generate", "tokenize"}) {
    expect_refused({command, "x", "--model", folder / "text"}, {"text/tokenizer.model"});
  }
  for (const char* command : {"generate", "logits"}) {
    std::vector<std::string> arguments = {command, "--ids", "-"};
    if (command == std::string("logits")) arguments.insert(arguments.end(), {"--out", folder / "out"});
    for (const auto& [name, part] : std::vector<std::pair<std::string, std::string>>{
             {"cut", "cut/model.safetensors"}, {"lies", "hidden_size"}, {"garbage", "garbage/model.safetensors"}}) {
      auto refused = arguments;
      refused.insert(refused.end(), {"--model", folder / name});
      expect_refused(refused, {part}, {.input = "[1]"});
    }
  }
  for (const char* name : {"cut", "lies", "garbage"}) expect_refused({"inspect", folder / name}, {name});
}

TEST(Cli, WeightsThatAreNoNumbersAreRefusedWhereAsked) {
  const TempFolder folder;
  std::filesystem::copy(kGoldenDir / "plain-f32", folder / "model");
  std::string weights = read_file(folder / "model/model.safetensors");
  weights.replace(weights.size() - 4, 4, std::string("\x00\x00\xc0\x7f", 4));
  write_file(folder / "model/model.safetensors", weights);
  expect_refused({"generate", "--ids", "-", "--model", folder / "model", "--check-weights"},
                 {"/model: ", "final norm", "NaN"}, {.input = "[1]"});
}

// The number of tokens that generate made.
size_t num_tokens(const std::vector<std::string>& flags, const Launch& launch = {}) {
  std::vector<std::string> arguments = {"generate", "In the beginning", "--ignore-eos", "--json"};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  return json_of(arguments, launch)["token_ids"].size();
}

TEST(Config, AFlagBeatsTheFile) {
  const TempFolder folder;
  write_file(folder / "octet.toml", "max-tokens = 7\ntemperature = 0\n\n# of another command\npositions = [1, 2]\n");
  EXPECT_EQ(num_tokens({"--config", folder / "octet.toml"}), 7U);
  EXPECT_EQ(num_tokens({"--config", folder / "octet.toml", "--max-tokens", "3"}), 3U);
}

TEST(Config, TheFileBeatsTheEnvironmentAndTheEnvironmentTheDefault) {
  const TempFolder folder;
  const std::string golden = kGoldenDir / "plain-f32";
  write_file(folder / "octet.toml", "model = \"" + kDemoModel.string() + "\"\n");
  const auto model = [](const std::vector<std::string>& flags, const Launch& launch) {
    std::vector<std::string> arguments = {"inspect", "--json"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    return json_of(arguments, launch)["config"]["vocab_size"].get<int>();
  };
  EXPECT_EQ(model({}, {}), 4096);
  EXPECT_EQ(model({}, {.environment = {{"OCTET_MODEL", golden}}}), 256);
  EXPECT_EQ(
      num_tokens({"--config", folder / "octet.toml", "--max-tokens", "2"}, {.environment = {{"OCTET_MODEL", golden}}}),
      2U)
      << "only the demo model has the tokenizer that a text prompt needs";
  expect_refused({"generate", "x", "--config", folder / "octet.toml", "--model", golden}, {"tokenizer.model"});
}

TEST(Config, WrongFilesAreRefusedWithTheLine) {
  const TempFolder folder;
  const std::string path = folder / "octet.toml";
  for (const auto& [text, parts] : std::vector<std::pair<std::string, std::vector<std::string>>>{
           {"max-tokens = 7\ntemprature = 0\n", {path + ":2", "temprature", "temperature"}},
           {"\n\nmax-tokens = = 7\n", {path + ":3"}},
           {"prefill-chunk = \"many\"\n", {path + ":1", "prefill-chunk"}},
           {"seed = 1\n[sampling]\nseed = 2\n", {path + ":2", "sampling"}}}) {
    write_file(path, text);
    expect_refused({"generate", "x", "--config", path}, parts);
  }
  expect_refused({"generate", "x", "--config", folder / "none.toml"}, {"none.toml"});
}

TEST(Config, ArraysRepeatAFlagAndSwitchesAreBooleans) {
  const TempFolder folder;
  write_file(folder / "octet.toml",
             "temperature = 0\nstop = [\"never there\", \"de los que\"]\njson = true\nmax-tokens = 40\n");
  const json object = json_of({"generate", "Bienaventurados los", "--config", folder / "octet.toml"});
  EXPECT_EQ(object["stop"], "de los que");
}

TEST(Cli, StandardOutputThatIsFullIsAFailureOfEveryCommand) {
  for (const auto& arguments : std::vector<std::vector<std::string>>{
           {"tokenize", "x"}, {"detokenize", "1"}, {"inspect"}, {"inspect", "--json"}, {"--help"}, {"--version"}}) {
    EXPECT_EQ(run_octet(arguments, {.stdout_path = "/dev/full"}).exit_code, 1) << arguments.front();
    const Outcome closed = run_octet(arguments, {.stdout_closed = true});
    EXPECT_EQ(closed.exit_code, 1) << arguments.front();
    EXPECT_THAT(closed.err, HasSubstr("standard output: Bad file descriptor"));
  }
}

}  // namespace
}  // namespace octet::testing
