// How jobs start and what they leave behind, with the real binary: starts that are held up or fail, ports, folders,
// and hosts that lack what MPI needs.
#include <set>

#include "comm/network.h"
#include "tests/launcher/run_job.h"

namespace octet::testing {
namespace {

using Clock = std::chrono::steady_clock;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class RunStartTest : public JobTest {
 protected:
  std::string write_script(const std::string& name, const std::string& text) const {
    write_file(folder_ / name, "#!/bin/bash\n" + text);
    std::filesystem::permissions(folder_ / name, std::filesystem::perms::owner_all);
    return folder_ / name;
  }
  // octet run whose ranks are this script.
  std::vector<std::string> run_script(const std::string& script, const std::vector<std::string>& flags,
                                      const std::vector<std::string>& command) const {
    write_file(folder_ / "cluster.toml", "ranks = 2\nbinary = \"" + write_script("octet", script) + "\"\n");
    return std::vector<std::string>{"run", "--cluster", folder_ / "cluster.toml"} + flags +
           std::vector<std::string>{"--"} + command;
  }
  const TempFolder folder_;
};

TEST_F(RunStartTest, ARankThatDoesNotStartIsNamedWhenTheLimitIsOver) {
  const auto arguments =
      run_script("[ \"$OMPI_COMM_WORLD_RANK\" = 0 ] || exec sleep 300\nexec " OCTET_BINARY " \"$@\"\n",
                 {"--start-limit", "5"}, {"generate", "x"});
  const auto start = Clock::now();
  const Outcome outcome = run_octet(arguments);
  EXPECT_LT(Clock::now() - start, Seconds(60));
  EXPECT_EQ(outcome.exit_code, 1);
  ASSERT_THAT(lines_of(outcome.err), SizeIs(2)) << outcome.err;
  EXPECT_THAT(lines_of(outcome.err)[1], AllOf(HasSubstr("--start-limit 5 s"), HasSubstr("rank 1 has not started")));
}

TEST_F(RunStartTest, ARankThatStartsButNeverJoinsIsNamed) {
  const auto arguments = run_script("[ \"$OMPI_COMM_WORLD_RANK\" = 0 ] || { " OCTET_BINARY
                                    " tokenize x; sleep 300; }\n"
                                    "exec " OCTET_BINARY " \"$@\"\n",
                                    {"--start-limit", "5"}, {"generate", "x"});
  const Outcome outcome = run_octet(arguments);
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("rank 1 (host "), HasSubstr("does not come to the others")));
}

// What is open of TCP in `process`: (address in hex, port) of sockets that listen.
std::vector<std::pair<std::string, int>> listening_sockets(pid_t process) {
  std::set<std::string> sockets;
  std::error_code gone;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(process) + "/fd", gone)) {
    const std::string target = std::filesystem::read_symlink(entry.path(), gone).string();
    if (target.starts_with("socket:[")) sockets.insert(target.substr(8, target.size() - 9));
  }
  std::vector<std::pair<std::string, int>> listening;
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    for (const std::string& line : lines_of(read_file(table))) {
      std::istringstream words(line);
      std::vector<std::string> fields(10);
      for (std::string& field : fields) words >> field;
      if (fields[3] != "0A" || !sockets.contains(fields[9])) continue;
      const size_t colon = fields[1].find(':');
      listening.emplace_back(fields[1].substr(0, colon), std::stoi(fields[1].substr(colon + 1), nullptr, 16));
    }
  }
  return listening;
}

std::vector<pid_t> processes_of(const RunningOctet& run) {
  std::vector<pid_t> all = {run.pid()};
  for (size_t i = 0; i < all.size(); ++i) {
    for (const pid_t child : children_of(all[i])) all.push_back(child);
  }
  return all;
}

bool is_loopback(const std::string& address) {
  return address == "0100007F" || address == "00000000000000000000000001000000";
}

TEST_F(RunStartTest, OnOneHostNothingListensBeyondLoopback) {
  RunningOctet run(on_ranks(3, kEndless));
  ASSERT_GT(await_process_of_rank(run, 2), 0);
  ASSERT_FALSE(run.read_bytes(20).empty());
  const auto processes = processes_of(run);
  EXPECT_GE(processes.size(), 5U);
  int num_listening = 0;
  for (const pid_t process : processes) {
    for (const auto& [address, port] : listening_sockets(process)) {
      ++num_listening;
      EXPECT_TRUE(is_loopback(address)) << process << " listens at " << address << ", port " << port;
    }
  }
  EXPECT_GT(num_listening, 0) << "the watchdog does, at least";
}

// A connection that says nothing, to each port that the processes of a job open, as soon as it is there.
class SilentCaller {
 public:
  void call_all(const RunningOctet& run) {
    for (const pid_t process : processes_of(run)) {
      for (const auto& [address, port] : listening_sockets(process)) {
        if (called_.insert({address, port}).second) call(address.size() > 8, port);
      }
    }
  }
  size_t num_calls() const { return called_.size(); }

 private:
  void call(bool ipv6, int port) {
    auto socket = connect_tcp(ipv6 ? "::1" : "127.0.0.1", static_cast<uint16_t>(port), std::chrono::milliseconds(1000));
    if (socket.ok()) held_.push_back(*std::move(socket));
  }
  std::set<std::pair<std::string, int>> called_;
  std::vector<UniqueFd> held_;
};

TEST_F(RunStartTest, LongSilentCallersHoldAStartNoLongerThanItsLimit) {
  std::vector<std::string> command = on_ranks(2, {"generate", "In", "--max-tokens", "2"});
  command.insert(command.begin() + 1, {"--start-limit", "5"});
  RunningOctet run(command);
  SilentCaller caller;
  const auto start = Clock::now();
  while (!run.has_ended() && Clock::now() - start < Seconds(100)) caller.call_all(run);
  EXPECT_TRUE(run.has_ended()) << "it is held";
  EXPECT_GT(caller.num_calls(), 0U);
  if (!run.has_ended()) return run.send(SIGKILL);
  const Outcome outcome = run.wait();
  if (outcome.exit_code == 0) return;  // it was faster than the calls
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("the start took longer than --start-limit 5 s: rank"));
}

// A launcher that fails as mpirun does when it cannot reach a host.
TEST_F(RunStartTest, ALaunchThatFailsIsToldInOneLineAndNotTriedAgain) {
  write_script("mpirun",
               "echo started >>" + (folder_ / "starts").string() +
                   "\nprintf '%s\\n' '--------------------------------------------------------------------------' "
                   "'The value of the MCA parameter \"plm_rsh_agent\" was set to a path' "
                   "'that could not be found:' '' '  plm_rsh_agent: ssh : rsh' '' 'Please fix it' "
                   "'--------------------------------------------------------------------------' >&2\n"
                   "exit 243\n");
  const Launch launch{.environment = {{"PATH", folder_.path().string() + ":" + std::getenv("PATH")}}};
  const Outcome outcome = run_octet({"run", "--ranks", "2", "--restart", "3", "--", "serve"}, launch);
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(read_file(folder_ / "starts"), "started\n");
  ASSERT_THAT(lines_of(outcome.err), SizeIs(2)) << outcome.err;
  EXPECT_THAT(lines_of(outcome.err)[1],
              AllOf(HasSubstr("cannot be started"), HasSubstr("that could not be found: plm_rsh_agent: ssh : rsh"),
                    HasSubstr("243"), Not(HasSubstr("died")), Not(HasSubstr("---"))));
}

TEST_F(RunStartTest, NoSshIsNeededOnOneHost) {
  const std::string bin = folder_ / "bin";
  std::filesystem::create_directories(bin);
  for (const char* name : {"mpirun", "sh", "env", "cat", "sleep"}) {
    std::filesystem::create_symlink(std::filesystem::path("/usr/bin") / name, bin + "/" + name);
  }
  const Outcome outcome =
      run_octet(on_ranks(2, {"generate", "In", "--max-tokens", "1"}), {.environment = {{"PATH", bin}}});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
}

std::string variable_of(pid_t process, const std::string& name) {
  std::ifstream environment("/proc/" + std::to_string(process) + "/environ");
  for (std::string entry; std::getline(environment, entry, '\0');) {
    if (entry.starts_with(name + "=")) return entry.substr(name.size() + 1);
  }
  return "";
}

bool is_gone(pid_t process) {
  for (int i = 0; i < 600; ++i) {
    std::ifstream stat("/proc/" + std::to_string(process) + "/stat");
    std::string pid, name, state;
    if (!(stat >> pid >> name >> state) || state == "Z") return true;
    ::usleep(50'000);
  }
  return false;
}

TEST_F(RunStartTest, NothingIsLeftWhenTheLauncherIsKilled) {
  RunningOctet run(on_ranks(3, kEndless), {.environment = {{"OMPI_MCA_orte_tmpdir_base", folder_.path()}}});
  const pid_t rank = await_process_of_rank(run, 1);
  ASSERT_GT(rank, 0);
  ASSERT_FALSE(run.read_bytes(20).empty());
  const auto processes = processes_of(run);
  const std::string shared = variable_of(rank, "OMPI_MCA_btl_vader_backing_directory");
  ASSERT_TRUE(std::filesystem::exists(shared)) << shared;
  ASSERT_FALSE(std::filesystem::is_empty(shared));
  ASSERT_FALSE(std::filesystem::is_empty(folder_.path()));
  const auto children = children_of(run.pid());
  ASSERT_THAT(children, SizeIs(1));
  ::kill(children[0], SIGKILL);
  const Outcome outcome = run.wait();
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("launcher was ended by signal 9"));
  for (const pid_t process : processes) EXPECT_TRUE(is_gone(process)) << process;
  EXPECT_FALSE(std::filesystem::exists(shared));
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
}

TEST_F(RunStartTest, WhatAKilledOctetRunLeavesIsRemovedByTheNext) {
  const auto left = [this] {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
      names.push_back(entry.path().filename());
    }
    return names;
  };
  const Launch launch{.environment = {{"OMPI_MCA_orte_tmpdir_base", folder_.path()}}};
  const std::vector<std::string> short_job = on_ranks(2, {"generate", "In", "--max-tokens", "1"});
  RunningOctet run(on_ranks(2, kEndless), launch);
  ASSERT_FALSE(run.read_bytes(20).empty());
  EXPECT_EQ(run_octet(short_job, launch).exit_code, 0);
  ASSERT_THAT(left(), SizeIs(1)) << "the other job is alive";
  const auto processes = processes_of(run);
  run.send(SIGKILL);
  for (const pid_t process : processes) EXPECT_TRUE(is_gone(process)) << process;
  ASSERT_THAT(left(), SizeIs(1));
  EXPECT_EQ(run_octet(short_job, launch).exit_code, 0);
  EXPECT_THAT(left(), IsEmpty());
}

TEST_F(RunStartTest, AHostThatLacksWhatMpiNeedsIsToldOfInOneLine) {
  const std::vector<std::string> command = on_ranks(2, {"generate", "In", "--max-tokens", "1"});
  const auto in_namespace = [](const std::string& kind, const std::string& script) {
    return Launch{.wrapper = {"unshare", kind, "/bin/sh", "-c", script + " && exec \"$0\" \"$@\""}};
  };
  if (::geteuid() != 0) GTEST_SKIP() << "HOSTS THAT LACK SOMETHING ARE NOT TESTED HERE: that needs root";
  const Outcome no_network = run_octet(command, in_namespace("--net", "true"));
  EXPECT_EQ(no_network.exit_code, 1);
  ASSERT_THAT(lines_of(no_network.err), SizeIs(1)) << no_network.err;
  EXPECT_THAT(no_network.err, AllOf(HasSubstr("loopback"), HasSubstr("ip link set lo up")));
  const Outcome only_loopback = run_octet(command, in_namespace("--net", "ip link set lo up"));
  EXPECT_EQ(only_loopback.exit_code, 0) << only_loopback.err;
  EXPECT_THAT(only_loopback.err, Not(HasSubstr("---")));
  Launch read_only = in_namespace("--mount", "mkdir -p " + (folder_ / "ro").string() +
                                                 " && mount -t tmpfs -o ro none " + (folder_ / "ro").string());
  read_only.environment = {{"OMPI_MCA_orte_tmpdir_base", folder_ / "ro"}};
  const Outcome no_folder = run_octet(command, read_only);
  EXPECT_EQ(no_folder.exit_code, 0) << no_folder.err;
  EXPECT_THAT(no_folder.err, AllOf(HasSubstr("Read-only file system"), HasSubstr("TMPDIR"), Not(HasSubstr("---"))));
  const std::string gone = folder_ / "gone";
  std::filesystem::create_directories(gone);
  const Outcome no_place =
      run_octet(command, {.folder = gone, .wrapper = {"/bin/sh", "-c", "rmdir " + gone + " && exec \"$0\" \"$@\""}});
  EXPECT_EQ(no_place.exit_code, 2);
  ASSERT_THAT(lines_of(no_place.err), SizeIs(1)) << no_place.err;
  EXPECT_THAT(no_place.err, HasSubstr("working directory is gone"));
}

}  // namespace
}  // namespace octet::testing
