// Jobs over two hosts.
#include "tests/launcher/two_hosts.h"

namespace octet::testing {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

TEST_F(HostsTest, TheTextIsThatOfOneRank) {
  const std::vector<std::string> command = {"generate", "In the beginning", "--temperature", "0", "--max-tokens", "12"};
  for (const char* exchange : {"all-to-all", "replicated"}) {
    const auto flags = command + std::vector<std::string>{"--exchange", exchange};
    EXPECT_EQ(output_of(over_hosts(2, "", flags), on_a()), output_of(command)) << exchange;
  }
}

TEST_F(HostsTest, RanksAreWherePlanSays) {
  write_script("where", "echo \"$OMPI_COMM_WORLD_RANK $(hostname)\"\n");
  for (const int num_ranks : {3, 5, 7}) {  // with 2 slots a host, the last two beyond the slots
    const auto keys = "ranks = " + std::to_string(num_ranks) + "\n";
    const auto binary = "binary = \"" + (folder_ / "where").string() + "\"\n";
    std::vector<std::string> planned;
    const auto arguments = over_hosts(2, keys + binary, {"generate"});
    const auto plan = json_of({"plan", "--cluster", folder_ / "cluster.toml", "--tp", "1", "--json"});
    for (const auto& rank : plan["ranks"]) {
      planned.push_back(rank["rank"].dump() + " " + (rank["host"] == "10.77.0.1" ? a_ : b_));
    }
    EXPECT_THAT(lines_of(output_of(arguments, on_a())), ::testing::UnorderedElementsAreArray(planned));
  }
}

TEST_F(HostsTest, WhatAHostLacksIsNamed) {
  std::filesystem::copy("/bin/true", folder_ / "only-a/octet");
  const std::string binary = "binary = \"" + (folder_ / "only-a/octet").string() + "\"\n";
  expect_refused(over_hosts(1, binary, {"generate"}), {"host 10.77.0.2", "only-a/octet", "no program there"}, on_a());
  expect_refused(over_hosts(1, "model = \"" + (folder_ / "only-a/octet").string() + "\"\n", {"generate", "x"}),
                 {"host 10.77.0.2", "only-a/octet", "no model"}, on_a());
}

TEST_F(HostsTest, AHostThatCannotBeReachedIsNamed) {
  const Outcome outcome = run_octet(over_hosts(1, "", {"generate", "x"}, "10.77.0.9"), on_a());
  EXPECT_EQ(outcome.exit_code, 1);
  ASSERT_THAT(lines_of(outcome.err), SizeIs(1)) << outcome.err;
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("10.77.0.9"), HasSubstr("agent: no such host")));
}

TEST_F(HostsTest, ARankKilledOnTheOtherHostIsNamed) {
  RunningOctet run(over_hosts(2, "", {"generate", "In the beginning", "--ignore-eos", "--max-tokens", "30000"}),
                   on_a());
  run.read_bytes(20);
  const pid_t process = find_rank(b_, 3);
  ASSERT_GT(process, 0);
  ::kill(process, SIGKILL);
  const Outcome outcome = run.wait();
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_THAT(outcome.err, Not(HasSubstr("cannot reach octet run")));
  ASSERT_THAT(lines_about_lost_ranks(outcome), SizeIs(1)) << outcome.err;
  // By the name it has for itself, or by the one it was started by: whoever notices first, the ranks or mpirun.
  EXPECT_THAT(lines_about_lost_ranks(outcome)[0],
              AnyOf(HasSubstr("rank 3 (host " + b_ + ") died"), HasSubstr("rank 3 (host 10.77.0.2) died")));
}

}  // namespace
}  // namespace octet::testing
