// octet run with the real binary: the same output from any number of ranks, and refusals told once.
#include "tests/launcher/run_job.h"

namespace octet::testing {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class RunTest : public JobTest {};
class LongRunTest : public JobTest {};

const std::vector<std::string> kGreedy = {
    "generate", "In the beginning God created the heavens and", "--temperature", "0", "--max-tokens", "24"};

// All rank counts, both exchanges, a placement and a chunk size.
void expect_same_text(const std::vector<int>& rank_counts, const std::vector<std::vector<std::string>>& variants) {
  const std::string expected = output_of(kGreedy);
  EXPECT_GT(expected.size(), 20U);
  for (const int num_ranks : rank_counts) {
    for (const auto& flags : variants) {
      SCOPED_TRACE(json(flags).dump() + " on " + std::to_string(num_ranks));
      EXPECT_EQ(output_of(on_ranks(num_ranks, kGreedy + flags)), expected);
    }
  }
}

TEST_F(RunTest, AnyNumberOfRanksWritesTheSameText) {
  expect_same_text({1, 4}, {{}});
  expect_same_text({2}, {{"--exchange", "all-to-all", "--prefill-chunk", "3"}});
  expect_same_text({8}, {{"--exchange", "replicated", "--placement", "round-robin"}});
}

TEST_F(LongRunTest, EveryLayoutExchangePlacementAndChunkWritesTheSameText) {
  std::vector<std::vector<std::string>> variants;
  for (const char* exchange : {"all-to-all", "replicated"}) {
    for (const char* placement : {"linear", "round-robin"}) {
      for (const char* chunk : {"1", "5", "512"}) {
        variants.push_back({"--exchange", exchange, "--placement", placement, "--prefill-chunk", chunk});
      }
    }
  }
  expect_same_text({1, 2, 4, 8}, variants);
  expect_same_text({4}, {{"--tp", "1"}, {"--tp", "2", "--ep", "2", "--etp", "2"}, {"--etp", "4"}, {"--ep", "1"}});
}

// The bytes of `octet logits` for a golden model's prompt.
std::string logits_of(const std::string& model, int num_ranks, const std::vector<std::string>& flags) {
  const TempFolder folder;
  write_file(folder / "ids.json", read_json(kGoldenDir / model / "prompts.json")["prompts"][0]["ids"].dump());
  const std::vector<std::string> command =
      std::vector<std::string>{"logits", "--model",        kGoldenDir / model, "--ids", folder / "ids.json",
                               "--out",  folder / "logits"} +
      flags;
  output_of(num_ranks == 0 ? command : on_ranks(num_ranks, command));
  return read_file(folder / "logits");
}

TEST_F(RunTest, LogitsFilesAreTheSameBytes) {
  for (const auto& [model, num_ranks, flags] : std::vector<std::tuple<std::string, int, std::vector<std::string>>>{
           {"kv6-bf16", 6, {}},
           {"six-experts-top3-tied", 3, {"--exchange", "all-to-all"}},
           {"odd-bf16-sharded", 2, {"--etp", "2"}}}) {
    EXPECT_EQ(logits_of(model, num_ranks, flags), logits_of(model, 0, {})) << model;
  }
}

TEST_F(LongRunTest, LogitsFilesAreTheSameBytesFromEveryNumberOfRanks) {
  for (const char* model : {"kv6-bf16", "six-experts-top3-tied", "odd-bf16-sharded", "plain-f32", "native-bf16"}) {
    const std::string expected = logits_of(model, 0, {});
    for (const int num_ranks : {2, 3, 4, 6, 8}) {
      EXPECT_EQ(logits_of(model, num_ranks, {"--exchange", "all-to-all"}), expected) << model << num_ranks;
    }
  }
}

TEST_F(RunTest, StandardInputReachesTheCommandAndTheCommandIsPrinted) {
  const Outcome outcome =
      run_octet(on_ranks(2, {"generate", "-", "--temperature", "0", "--max-tokens", "8"}), {.input = "static int"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, output_of({"generate", "static int", "--temperature", "0", "--max-tokens", "8"}));
  EXPECT_THAT(lines_of(outcome.err)[0], AllOf(HasSubstr("mpirun -n 2"), HasSubstr("generate - --temperature 0")));
}

TEST_F(RunTest, InsideASlurmAllocationTheRanksAreStartedBySrun) {
  const std::vector<std::pair<std::string, std::string>> allocation = {
      {"SLURM_JOB_ID", "7"}, {"SLURM_JOB_NUM_NODES", "2"}, {"SLURM_NTASKS", "4"}, {"SLURM_CPUS_PER_TASK", "3"}};
  const std::vector<std::string> dry_run = {"run", "--dry-run", "--ranks", "4", "--", "generate", "x"};
  const Outcome outcome = run_octet(dry_run, {.environment = allocation});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("srun --ntasks 4 "), HasSubstr(" --cpus-per-task=3 "), HasSubstr("generate x")));
}

TEST_F(RunTest, ProcessesOfSrunThatAreNoRanksAreRefused) {
  const Outcome outcome =
      run_octet({"generate", "x", "--max-tokens", "1"}, {.environment = {{"SLURM_STEP_NUM_TASKS", "2"}}});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err, HasSubstr("srun --mpi=pmix"));
}

// One line besides the command; nothing of mpirun's.
void expect_refused_by_job(const std::vector<std::string>& arguments, const std::vector<std::string>& parts) {
  const Outcome outcome = run_octet(arguments);
  EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  const auto lines = lines_of(outcome.err);
  ASSERT_EQ(lines.size(), 2U) << outcome.err;
  for (const std::string& part : parts) EXPECT_THAT(lines[1], HasSubstr(part));
}

TEST_F(RunTest, ALayoutThatDoesNotFitIsRefusedOnceWithThoseThatDo) {
  expect_refused_by_job(on_ranks(3, {"generate", "x", "--tp", "2"}), {"tp", "layouts of 3 ranks that fit", "(1, 3)"});
}

TEST_F(RunTest, WhatTheRanksRefuseIsToldOnce) {
  expect_refused_by_job(on_ranks(4, {"generate", "x", "--temprature", "1"}), {"--temprature", "--temperature"});
  expect_refused_by_job(on_ranks(2, {"genrate", "x"}), {"genrate", "generate"});
  expect_refused_by_job(on_ranks(2, {"generate", "--ids", "/nowhere/ids.json"}), {"/nowhere/ids.json"});
}

// octet run on four ranks, the last two of which get other words behind their command's.
std::vector<std::string> with_other_words(const TempFolder& folder, const std::string& first_ranks,
                                          const std::string& last_ranks) {
  write_file(folder / "octet", "#!/bin/sh\nif [ \"$OMPI_COMM_WORLD_RANK\" -ge 2 ]; then set -- \"$@\" " + last_ranks +
                                   "; else set -- \"$@\" " + first_ranks + "; fi\nexec " OCTET_BINARY " \"$@\"\n");
  std::filesystem::permissions(folder / "octet", std::filesystem::perms::owner_all);
  write_file(folder / "cluster.toml", "ranks = 4\nbinary = \"" + (folder / "octet").string() + "\"\n");
  return {"run", "--cluster", folder / "cluster.toml", "--", "generate", "x", "--max-tokens", "1"};
}

TEST_F(RunTest, RanksWithOtherArgumentsAreFoundAndNamed) {
  const TempFolder folder;
  write_file(folder / "config.toml", "placement = \"round-robin\"\n");
  for (const auto& [words, flag] : std::vector<std::pair<std::string, std::string>>{
           {"--kv-dtype bf16", "--kv-dtype"},
           {"--placement round-robin", "--placement"},
           {"--prefix-cache off", "--prefix-cache"},
           {"--config " + (folder / "config.toml").string(), "--placement"}}) {
    expect_refused_by_job(with_other_words(folder, "", words), {"flags", flag, "rank 2", "rank 3"});
  }
}

TEST_F(RunTest, FilesThatFlagsNameCountByWhatStandsInThem) {
  const TempFolder folder;
  const std::string a = folder / "a.toml", b = folder / "b.toml", c = folder / "c.toml";
  write_file(a, "places = [[0, 1], [2, 3], [4, 5], [6, 7]]\n");
  write_file(b, read_file(a));
  write_file(c, "places = [[0, 2], [1, 3], [4, 5], [6, 7]]\n");
  const Outcome same = run_octet(with_other_words(folder, "--ep 4 --placement " + a, "--ep 4 --placement " + b));
  EXPECT_EQ(same.exit_code, 0) << same.err;
  expect_refused_by_job(with_other_words(folder, "--ep 4 --placement " + a, "--ep 4 --placement " + c),
                        {"the file of --placement", "rank 2"});
}

TEST_F(RunTest, WhatCannotStartIsRefusedBeforeMpirun) {
  expect_refused({"run", "--ranks", "2"}, {"COMMAND"});
  expect_refused({"run", "--ranks", "0", "--", "generate"}, {"--ranks"});
  expect_refused({"run", "--", "run", "--", "generate"}, {"itself"});
  expect_refused({"run", "--restart", "3", "--", "generate", "x"}, {"--restart", "generate", "serve"});
  expect_refused({"run", "--cluster", "/nowhere.toml", "--", "generate", "x"}, {"/nowhere.toml"});
  expect_refused(on_ranks(2, {"generate", "x", "--model", "/nowhere/model"}), {"localhost", "/nowhere/model"});
  const TempFolder folder;
  write_file(folder / "cluster.toml", "binary = \"/nowhere/octet\"\n");
  expect_refused({"run", "--cluster", folder / "cluster.toml", "--", "generate", "x"}, {"localhost", "/nowhere/octet"});
}

TEST_F(RunTest, DryRunShowsTheCommandThatTheClusterFileMakes) {
  const TempFolder folder;
  write_file(folder / "cluster.toml",
             "model = \"/m\"\nranks = 6\n[layout]\ntp = 2\n[limits]\nheartbeat = 5\n"
             "[[hosts]]\nname = \"a\"\nslots = 4\n[[hosts]]\nname = \"b\"\nslots = 2\n");
  const std::string line = output_of({"run", "--dry-run", "--cluster", folder / "cluster.toml", "--", "generate",
                                      "two words", "", "--tp=1", "--", "-5"});
  EXPECT_THAT(line, AllOf(HasSubstr("mpirun -n 6 --host a:4,b:2 --map-by slot "), Not(HasSubstr("--oversubscribe")),
                          HasSubstr(" generate --model /m --heartbeat-limit 5 'two words' '' --tp=1 -- -5\n")));
  EXPECT_THAT(output_of({"run", "--dry-run", "--cluster", folder / "cluster.toml", "--", "tokenize", "x"}),
              HasSubstr(" tokenize --model /m x\n"))
      << "tokenize has no layout";
}

}  // namespace
}  // namespace octet::testing
