// Jobs over two hosts: network namespaces with host names and file systems of their own, a cable between them, and a
// launch agent that enters them.
#include "tests/launcher/run_job.h"

namespace octet::testing {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

bool shell(const std::string& script) { return std::system(("(" + script + ") >/dev/null 2>&1").c_str()) == 0; }

class HostsTest : public JobTest {
 protected:
  void SetUp() override {
    JobTest::SetUp();
    if (IsSkipped()) return;
    if (!shell("ip netns add " + a_ + " && ip netns add " + b_ + " && ip -n " + a_ + " link add " + a_ +
               " type veth peer name " + b_ + " netns " + b_)) {
      GTEST_SKIP() << "SEVERAL HOSTS ARE NOT TESTED HERE: that needs root, iproute2 and network namespaces";
    }
    int number = 0;
    for (const std::string& host : {a_, b_}) {
      ASSERT_TRUE(shell("ip -n " + host + " link set lo up && ip -n " + host + " link set " + host + " up && ip -n " +
                        host + " addr add 10.77.0." + std::to_string(++number) + "/24 dev " + host));
      std::filesystem::create_directories(folder_ / host);
    }
    write_script("agent", "host=$1\nshift\ncase $host in\n10.77.0.1) name=" + a_ + ";;\n10.77.0.2) name=" + b_ +
                              ";;\n*) echo \"agent: no such host $host\" >&2; exit 255;;\nesac\n"
                              "exec " +
                              (folder_ / "enter").string() + " $name /bin/sh -c \"$*\"\n");
    // enter NAME words…: host b does not see the folder only-a.
    write_script("enter", "name=$1\nshift\nexport TMPDIR=" + folder_.path().string() +
                              "/$name OCTET_TEST_HOST=$name\n"
                              "exec ip netns exec $name unshare --uts --mount /bin/sh -c 'hostname $0; [ $0 = " +
                              a_ + " ] || mount -t tmpfs none " + (folder_ / "only-a").string() +
                              "; exec \"$@\"' $name \"$@\"\n");
    std::filesystem::create_directories(folder_ / "only-a");
  }
  void TearDown() override {
    for (const std::string& host : {a_, b_}) shell("ip netns del " + host);
  }

  void write_script(const std::string& name, const std::string& text) const {
    write_file(folder_ / name, "#!/bin/sh\n" + text);
    std::filesystem::permissions(folder_ / name, std::filesystem::perms::owner_all);
  }

  // octet run on host a, with `slots` on each host.
  std::vector<std::string> over_hosts(int slots, const std::string& keys, const std::vector<std::string>& command,
                                      const std::string& second_host = "10.77.0.2") const {
    std::string toml = keys + "interface = \"10.77.0.0/24\"\nmpirun_args = [\"--mca\", \"plm_rsh_agent\", \"" +
                       (folder_ / "agent").string() + "\"]\n";
    for (const std::string& host : {std::string("10.77.0.1"), second_host}) {
      toml += "[[hosts]]\nname = \"" + host + "\"\nslots = " + std::to_string(slots) + "\n";
    }
    write_file(folder_ / "cluster.toml", toml);
    return std::vector<std::string>{"run", "--cluster", folder_ / "cluster.toml", "--"} + command;
  }
  Launch on_a() const { return {.wrapper = {folder_ / "enter", a_}}; }

  // The process of a rank on either host.
  pid_t find_rank(const std::string& host, int rank) const {
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      std::ifstream file(entry.path() / "environ");
      const std::string environment{std::istreambuf_iterator<char>(file), {}};
      const auto has = [&](const std::string& variable) {
        return environment.find(variable + '\0') != std::string::npos;
      };
      if (has("OCTET_TEST_HOST=" + host) && has("OMPI_COMM_WORLD_RANK=" + std::to_string(rank))) {
        return std::stoi(entry.path().filename());
      }
    }
    return 0;
  }

  const TempFolder folder_;
  const std::string a_ = "octa" + std::to_string(::getpid());
  const std::string b_ = "octb" + std::to_string(::getpid());
};

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
