// Jobs of several ranks, started by octet run, for tests that look into them.
#pragma once

#include <chrono>
#include <thread>

#include "tests/launcher/run_octet.h"

namespace octet::testing {

using Seconds = std::chrono::duration<double>;

// A command that is still running when a test looks at it.
inline const std::vector<std::string> kEndless = {"generate", "In the beginning", "--ignore-eos", "--max-tokens",
                                                  "30000"};

// "run --ranks N --" in front of a command.
inline std::vector<std::string> on_ranks(int num_ranks, const std::vector<std::string>& command) {
  return std::vector<std::string>{"run", "--ranks", std::to_string(num_ranks), "--"} + command;
}

inline std::vector<pid_t> children_of(pid_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/task/" + std::to_string(process) + "/children");
  std::vector<pid_t> children;
  for (pid_t child = 0; file >> child;) children.push_back(child);
  return children;
}

// The process of a rank of `octet run`'s job on this host: a child of its mpirun. 0: there is none yet.
inline pid_t process_of_rank(const RunningOctet& run, int rank) {
  const std::string sign = "OMPI_COMM_WORLD_RANK=" + std::to_string(rank);
  for (const pid_t mpirun : children_of(run.pid())) {
    for (const pid_t child : children_of(mpirun)) {
      std::ifstream environment("/proc/" + std::to_string(child) + "/environ");
      for (std::string entry; std::getline(environment, entry, '\0');) {
        if (entry == sign) return child;
      }
    }
  }
  return 0;
}

// Waits for it as long as the job lives, two minutes at most; 0: there was none.
inline pid_t await_process_of_rank(const RunningOctet& run, int rank) {
  for (int i = 0; i < 12'000 && !run.has_ended(); ++i) {
    if (const pid_t process = process_of_rank(run, rank); process != 0) return process;
    ::usleep(10'000);
  }
  return 0;
}

// Lines of standard error that tell of a lost rank.
inline std::vector<std::string> lines_about_lost_ranks(const Outcome& outcome) {
  std::vector<std::string> found;
  for (const std::string& line : lines_of(outcome.err)) {
    for (const char* part : {" died: ", " silent for ", " has waited "}) {
      if (line.find(part) == std::string::npos) continue;
      found.push_back(line);
      break;
    }
  }
  return found;
}

// How many seconds such a line says that the rank was silent; it says nothing of that: -1.
inline double seconds_silent(const std::string& line) {
  const std::string words = " silent for ";
  const auto at = line.find(words);
  return at == std::string::npos ? -1 : std::stod(line.substr(at + words.size()));
}

class JobTest : public ::testing::Test {
 protected:
  void SetUp() override {
#ifdef __SANITIZE_THREAD__
    GTEST_SKIP() << "the thread sanitizer knows nothing of MPI's own locks";
#endif
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1);  // MPI keeps memory to the end of the process
  }
};

}  // namespace octet::testing
